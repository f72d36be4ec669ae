"""What holds for every run of tests."""

from __future__ import annotations

import os
import signal
import tomllib
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

# Of several runs side by side each takes some of the modules: `2/4` is the second of four.
SHARE = os.environ.get("HOLDFAST_TEST_SHARE", "")
COSTLY_S = {
    "cli/tests/test_changing.py": 10,
    "cli/tests/test_reading.py": 2,
    "cli/tests/test_start.py": 2,
    "core/tests/api/test_openapi.py": 5,
    "core/tests/api/test_requests.py": 7,
    "core/tests/loading/test_finding.py": 3,
    "core/tests/peer/test_pairing.py": 9,
    "core/tests/peer/test_server.py": 4,
    "core/tests/services/test_jobs.py": 3,
    "core/tests/services/test_jobs_killed.py": 3,
    "core/tests/system/test_listing.py": 4,
    "core/tests/system/test_restoring.py": 2,
    "core/tests/system/test_throughput.py": 3,
    "core/tests/system/test_watching.py": 3,
    "core/tests/witness/test_talking.py": 4,
    "lab/tests/test_kernel.py": 5,
    "plugins/failover_vip/tests/test_abstract_kernel.py": 2,
    "plugins/failover_vip/tests/test_forecast.py": 6,
    "plugins/failover_vip/tests/test_forecast_simulation.py": 12,
    "plugins/failover_vip/tests/test_journal.py": 2,
    "plugins/failover_vip/tests/test_network.py": 30,
    "plugins/failover_vip/tests/test_receiving.py": 4,
    "plugins/failover_vip/tests/test_search.py": 9,
    "plugins/failover_vip/tests/test_search_witness.py": 14,
    "plugins/failover_vip/tests/test_several_volumes.py": 2,
    "plugins/failover_vip/tests/test_simulation.py": 10,
    "plugins/iscsi_lio/tests/test_iscsi_lio_driver.py": 19,
    "plugins/rep_block/tests/test_rep_block_fencing.py": 7,
    "plugins/rep_rsync/tests/test_agent.py": 11,
    "plugins/rep_rsync/tests/test_copies.py": 19,
    "plugins/rep_rsync/tests/test_notes.py": 3,
    "plugins/rep_rsync/tests/test_rsync_contract.py": 33,
    "plugins/rep_rsync/tests/test_rsync_restore_contract.py": 9,
    "plugins/rep_rsync/tests/test_encrypted_agent.py": 8,
    "plugins/rep_rsync/tests/test_hostile.py": 20,
    "plugins/rep_rsync/tests/test_on_the_line.py": 12,
    "plugins/rep_rsync/tests/test_options.py": 3,
    "tests/architecture/test_house_rules.py": 7,
    "tests/architecture/test_import_rules_bite.py": 3,
    "tests/composed/test_chosen_destinations.py": 6,
    "tests/composed/test_copy_ages.py": 7,
    "tests/composed/test_witness.py": 20,
    "tests/composed/test_directions.py": 6,
    "tests/composed/test_disk_health.py": 4,
    "tests/composed/test_documents_are_tagged.py": 8,
    "tests/composed/test_explanation.py": 5,
    "tests/composed/test_file_io.py": 18,
    "tests/composed/test_jobs_go_back.py": 10,
    "tests/composed/test_jobs_killed.py": 7,
    "tests/composed/test_kept_copies.py": 10,
    "tests/composed/test_links.py": 12,
    "tests/composed/test_mirror_volumes.py": 30,
    "tests/composed/test_mirror_zeroing.py": 14,
    "tests/composed/test_mirrors.py": 13,
    "tests/composed/test_mirrors_at_once.py": 5,
    "tests/composed/test_mirrors_broken.py": 20,
    "tests/composed/test_mirrors_compared.py": 20,
    "tests/composed/test_moves.py": 20,
    "tests/composed/test_restores.py": 9,
    "tests/composed/test_run_truth.py": 4,
    "tests/composed/test_snapshot_schedules.py": 7,
    "tests/composed/test_snapshots.py": 7,
    "tests/composed/test_pools.py": 5,
    "tests/composed/test_share_offers.py": 14,
    "tests/composed/test_start.py": 4,
    "tests/composed/test_targets.py": 14,
    "tests/composed/test_real_copies.py": 12,
    "tests/composed/test_runs_by_changes.py": 14,
    "tests/composed/test_replica_passwords.py": 2,
    "tests/composed/test_task_rules.py": 7,
    "tests/composed/test_task_schedules.py": 9,
    "tests/composed/test_the_main_job.py": 8,
    "tests/composed/test_thin_snapshots.py": 10,
    "tests/contracts/test_copy_contract.py": 6,
    "tests/contracts/test_copy_contract_bites.py": 8,
    "tests/contracts/test_mirror_contract.py": 3,
    "tests/contracts/test_mirror_contract_bites.py": 10,
    "tests/contracts/test_restore_contract.py": 5,
    "tests/contracts/test_restore_contract_bites.py": 6,
    "tests/contracts/test_share_contract_bites.py": 2,
    "tests/contracts/test_thin_snapshot_contract_bites.py": 2,
    "tests/contracts/test_volume_contract_bites.py": 5,
}
"""Seconds that a module takes while others run beside it, of those that take more than one."""

# A shell has what it starts in the background ignore Ctrl-C, and every process started from there with it: the tests
# that press it would wait in vain.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def cost_s(name: str) -> float:
    """About how long a module takes; those that are not known to be costly are taken for a quarter of a second."""
    return COSTLY_S.get(name, 0.25)


@cache
def share_out(root: Path, count: int) -> list[set[Path]]:
    """Deal the modules of tests to so many runs: the most costly first, each to the run that has least to do."""
    shares: list[set[Path]] = [set() for _ in range(count)]
    costs_s = [0.0] * count
    options = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    tops = [root / top for top in options["testpaths"]]
    modules = {str(path.relative_to(root)): path for top in tops for path in top.rglob("test_*.py")}
    for name in sorted(modules, key=lambda name: (-cost_s(name), name)):
        least = costs_s.index(min(costs_s))
        shares[least].add(modules[name])
        costs_s[least] += cost_s(name)
    return shares


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Pass over a module that is another run's."""
    number, _, count = SHARE.partition("/")
    if not count or not collection_path.match("test_*.py"):
        return None
    return collection_path not in share_out(config.rootpath, int(count))[int(number) - 1] or None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run what boots virtual nodes last, in the random order that the rest has too: cheap tests fail first.

    Tests marked `in_order` build on those above them: within their module they keep the order of the file.
    """
    items.sort(key=lambda item: item.get_closest_marker("lab") is not None)
    places: dict[str, list[int]] = defaultdict(list)
    for place, item in enumerate(items):
        if item.get_closest_marker("in_order"):
            places[item.location[0]].append(place)
    for of_module in places.values():
        in_order = sorted((items[place] for place in of_module), key=lambda item: item.location[1] or 0)
        for place, item in zip(of_module, in_order, strict=True):
            items[place] = item

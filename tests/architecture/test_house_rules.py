"""The tree keeps the house rules; each exception is listed here with its reason, and no longer than it is needed."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping

import pytest

from tests.architecture import rules
from tests.architecture.rules import ROOT, Module

Rule = Callable[[Module], Iterator[str]]

_KIT = "a role's whole contract is one class of sentences to subclass"
_MODEL = "the rules of a mechanism as one model: apart, none of them says what holds"

LONG: Mapping[str, str] = {
    "core/holdfast/hooks/replication.py": "two contracts, whose docstrings are the reference for plugin authors",
    "core/holdfast/compose/services.py": "one statement for each service, and they are many",
    "core/holdfast/testing/copy.py": _KIT,
    "core/holdfast/testing/failover.py": _KIT,
    "core/holdfast/testing/mirror.py": _KIT,
    "core/holdfast/testing/share.py": _KIT,
    "core/holdfast/testing/target.py": _KIT,
    "core/holdfast/testing/volume.py": _KIT,
    "core/holdfast/testing/memory_copy.py": _MODEL,
    "core/holdfast/testing/memory_mirror.py": _MODEL,
    "core/holdfast/testing/memory_pools.py": _MODEL,
    "core/holdfast/testing/memory_volume.py": _MODEL,
    "core/holdfast/testing/pools.py": _KIT,
    "plugins/rep_block/holdfast_rep_block/driver.py": "one method for each operation of the longest contract",
}
STARTS_PROCESSES: Mapping[str, str] = {
    "core/holdfast/system/command.py": "it is the one way to run a command",
    "core/holdfast/testing/copy.py": "the kit mounts what a test fills up, before any driver is there",
    "plugins/rep_block/holdfast_rep_block/fence_helper.py": "the kernel runs it, with none of core and in no time",
}
_TRAVELS = "it goes to the partner, by mutual TLS"
_TOLD = "the mechanism is told the password: "
_PROVES = "a key proves who speaks, and is not sent"
REVEALS: Mapping[str, str] = {
    "core/holdfast/values.py": "it defines Secret and the codec",
    "core/holdfast/__main__.py": "the first token is kept in a file of mode 0600",
    "core/holdfast/api/nodes.py": "the pairing code is shown once, to who asked for it",
    "core/holdfast/peer/agreement.py": _PROVES,
    "core/holdfast/peer/code.py": "the code that was typed is brought into its form",
    "core/holdfast/peer/partner.py": "the pairing's key is kept in a file of mode 0600",
    "core/holdfast/services/mirrors/sides.py": _TRAVELS,
    "core/holdfast/services/groups/plans.py": "the monitor's plan is kept in a file of mode 0600",
    "core/holdfast/services/targets/credentials.py": _TRAVELS,
    "core/holdfast/services/copies/replica_changes.py": _TRAVELS + ", and is compared",
    "core/holdfast/services/copies/restore_openings.py": _TRAVELS,
    "core/holdfast/store/secrets.py": "the database, of mode 0600, keeps it",
    "core/holdfast/store/tokens.py": "only a hash is kept",
    "core/holdfast/testing/copy.py": "the kit looks for it where it must not be",
    "core/holdfast/testing/target.py": "the kit looks for it where it must not be",
    "core/holdfast/testing/memory_copy.py": "a login is judged",
    "core/holdfast/testing/memory_share.py": "a login is judged",
    "plugins/failover_vip/holdfast_failover_vip/wire.py": _PROVES,
    "plugins/iscsi_lio/holdfast_iscsi_lio/apply.py": _TOLD + "configfs",
    "plugins/iscsi_lio/holdfast_iscsi_lio/limits.py": "what the kernel would cut off is refused",
    "plugins/iscsi_lio/holdfast_iscsi_lio/wanted.py": _TOLD + "as a Secret of the wanted tree",
    "plugins/rep_block/holdfast_rep_block/options.py": _TOLD + "netlink",
    "plugins/rep_rsync/holdfast_rep_rsync/client.py": _TOLD + "a file of mode 0600",
    "plugins/rep_rsync/holdfast_rep_rsync/configuration.py": _TOLD + "the secrets file of mode 0600",
    "plugins/share_smb/holdfast_share_smb/samba.py": _TOLD + "standard input",
    "plugins/rep_rsync/holdfast_rep_rsync/naming.py": "what a secrets file cannot hold is refused",
}
SAYS_STATUSES: Mapping[str, str] = {
    "core/holdfast/api/errors.py": "it holds the table",
}
NONE: Mapping[str, str] = {}


def broken(modules: Iterable[Module], rule: Rule, allowed: Mapping[str, str]) -> list[str]:
    """What breaks a rule unexplained, and explanations that nothing needs any more."""
    found = {module.path: sorted(set(rule(module))) for module in modules}
    complaints = [f"{path}: {what}" for path, whats in found.items() for what in whats if path not in allowed]
    return complaints + [f"{path}: needs no exception" for path in allowed if not found.get(path)]


@pytest.mark.parametrize(
    ("rule", "allowed"),
    [
        (rules.length, LONG),
        (rules.vague_names, NONE),
        (rules.process_starts, STARTS_PROCESSES),
        (rules.revealed_secrets, REVEALS),
        (rules.unfinished, NONE),
    ],
)
def test_the_product_keeps_the_rule(rule: Rule, allowed: Mapping[str, str]) -> None:
    assert broken(rules.product(), rule, allowed) == []


@pytest.mark.parametrize("rule", [rules.length, rules.vague_names, rules.unfinished])
def test_the_bench_keeps_the_rule(rule: Rule) -> None:
    assert broken(rules.bench(), rule, NONE) == []


def test_only_one_module_maps_errors_to_http_statuses() -> None:
    api = (module for module in rules.product() if module.path.startswith("core/holdfast/api/"))

    assert broken(api, rules.error_statuses, SAYS_STATUSES) == []


def test_every_package_is_typed() -> None:
    packages = [ROOT / "core/holdfast", *ROOT.glob("cli/holdfast_*"), *ROOT.glob("plugins/*/holdfast_*")]

    assert [package.name for package in packages if not (package / "py.typed").is_file()] == []


def test_every_plugin_is_named_where_its_imports_and_types_are_checked() -> None:
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    plugins = {package.name for package in ROOT.glob("plugins/*/holdfast_*")}
    contracts = {contract["id"]: contract for contract in tools["importlinter"]["contracts"]}

    assert plugins <= set(tools["importlinter"]["root_packages"])
    assert plugins <= set(contracts["no-mechanism"]["forbidden_modules"])
    assert plugins <= set(contracts["contract-only"]["source_modules"])
    assert plugins == set(contracts["plugins-apart"]["modules"])
    assert plugins <= set(contracts["lab-apart"]["forbidden_modules"])
    assert {f"plugins/{name.removeprefix('holdfast_')}" for name in plugins} <= set(
        tools["mypy"]["mypy_path"].split(":")
    )

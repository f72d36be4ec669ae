"""What fio and tc say is read rightly, and what they did not do is not taken for a figure."""

import json

import pytest

from benchmarks.fio import MIB, Job, command, figures
from benchmarks.link import packets_dropped

NOTHING = {"total_ios": 0, "iops": 0.0, "bw_bytes": 0, "lat_ns": {"mean": 0.0, "max": 0}}
DONE = {
    "total_ios": 10,
    "iops": 5.0,
    "bw_bytes": 2 * MIB,
    "lat_ns": {"mean": 1500.0, "max": 9000, "percentile": {"50.000000": 1200}},
}

SHAPED = """qdisc netem 8001: root refcnt 2 limit 10000 delay 49us rate 1Gbit
 Sent 141192384 bytes 93518 pkt (dropped {}, overlimits 0 requeues 0)
 backlog 0b 0p requeues 0
"""


def told(read: dict[str, object], write: dict[str, object], error: int = 0) -> str:
    job = {"jobname": "qd1", "error": error, "read": read, "write": write}
    return "fio: a note of its own\n" + json.dumps({"jobs": [job]})


@pytest.mark.parametrize("text", [told(DONE, NOTHING), told(NOTHING, DONE)])
def test_a_job_has_the_figures_of_what_it_did(text: str) -> None:
    assert figures(text) == {
        "qd1_iops": 5.0,
        "qd1_mib_s": 2.0,
        "qd1_us": 1.5,
        "qd1_median_us": 1.2,
        "qd1_worst_us": 9.0,
    }


def test_a_job_that_failed_has_no_figures() -> None:
    with pytest.raises(OSError, match="qd1"):
        figures(told(DONE, NOTHING, error=5))


def test_a_job_that_did_nothing_has_no_figures() -> None:
    with pytest.raises(ValueError, match="qd1"):
        figures(told(NOTHING, NOTHING))


def test_jobs_come_one_after_the_other_for_a_time_or_once_over_the_region() -> None:
    timed, once = Job("a", "write", "1M", 8, MIB, 1.5), Job("b", "randread", "4k", 1, MIB, start_bytes=4096)
    _, first, second = command("/dev/x", [timed, once]).split("--name=")
    assert "--stonewall --rw=write --bs=1M --iodepth=8" in first
    assert "--time_based --runtime=1500ms" in first
    assert "--offset=4096" in second
    assert "--time_based" not in second


@pytest.mark.parametrize("dropped", [0, 17])
def test_what_a_shaped_link_dropped_is_seen(dropped: int) -> None:
    assert packets_dropped(SHAPED.format(dropped)) == dropped


def test_a_link_without_a_shape_is_not_taken_for_one_that_drops_nothing() -> None:
    text = "qdisc pfifo_fast 0: root refcnt 2 bands 3\n Sent 9 bytes 1 pkt (dropped 0, overlimits 0 requeues 0)\n"
    with pytest.raises(ValueError, match="not shaped"):
        packets_dropped(text)

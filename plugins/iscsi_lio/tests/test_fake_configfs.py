"""The fake keeps the rules that the kernel was seen to keep, and the player of the rules sees a broken one."""

from __future__ import annotations

from plugins.iscsi_lio.tests.fake_configfs import FakeConfigfs, play

DEVICES = ("/dev/ram2", "/dev/ram3")


def test_the_fake_keeps_every_rule() -> None:
    assert play(FakeConfigfs(DEVICES)) == []


def test_a_kernel_that_allows_links_to_closed_backstores_is_found_out() -> None:
    class Lenient(FakeConfigfs):
        def _is_enabled(self, store: str) -> bool:
            return True

    assert any("ENODEV" in broken for broken in play(Lenient(DEVICES)))

"""Whether a program is there, without running it."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.system.command import SystemCommands


def test_a_program_is_found_by_name_and_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "no-such-tool"
    commands = SystemCommands()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not commands.finds("no-such-tool")
    program.write_text("#!/bin/sh\n")
    assert not commands.finds("no-such-tool"), "it may not be run"
    program.chmod(0o755)
    assert commands.finds("no-such-tool")
    assert commands.finds(str(program))
    assert not commands.finds(f"{program}-too")

from __future__ import annotations

import pytest

from holdfast.errors import InvalidError
from holdfast.peer.code import make_code, read_code


def test_codes_differ_and_are_shown_in_two_groups() -> None:
    codes = {make_code().reveal() for _ in range(50)}
    assert len(codes) == 50
    assert all(len(code) == 11 and code[5] == "-" for code in codes)


@pytest.mark.parametrize("typed", ["7Q2ZK-M01XC", "7q2zk m01xc", " 7Q2ZKM01XC\n", "7Q2ZK-MOIXC", "7q2zk-molxc"])
def test_a_code_is_understood_however_it_is_typed(typed: str) -> None:
    assert read_code(typed).reveal() == "7Q2ZKM01XC"


@pytest.mark.parametrize("typed", ["", "7Q2ZK", "7Q2ZK-M41XU", "7Q2ZK-M41XCC", "7Q2ZK_M41XC", "７Q2ZK-M41XC"])
def test_what_can_be_no_code_is_refused_with_its_field(typed: str) -> None:
    with pytest.raises(InvalidError) as caught:
        read_code(typed)
    assert caught.value.reasons[0].field == "code"
    assert "7Q2ZK-M41XU" not in str(caught.value)

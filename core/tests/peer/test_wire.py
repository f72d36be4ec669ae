from __future__ import annotations

import inspect
import json

import pytest

from holdfast import errors
from holdfast.errors import BusyError, HoldfastError, InvalidError, Reason, SystemCommandError
from holdfast.peer.wire import error_from_plain, error_to_plain, read_object, refuse_masked_secrets
from holdfast.values import Secret

KINDS = [
    kind
    for kind in vars(errors).values()
    if inspect.isclass(kind) and issubclass(kind, HoldfastError) and kind is not SystemCommandError
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_class_of_the_tree_arrives_as_itself_with_its_reasons(kind: type[HoldfastError]) -> None:
    reasons = (Reason("in-use", "a task uses it", "stop the task", "volume"), Reason("x", "y", "z"))
    arrived = error_from_plain(json.loads(json.dumps(error_to_plain(kind("it is so", reasons=reasons)))))
    assert type(arrived) is kind
    assert (arrived.message, arrived.reasons) == ("it is so", reasons)


@pytest.mark.parametrize("returncode", [5, None])
def test_a_failed_command_arrives_with_its_argv_and_code(returncode: int | None) -> None:
    sent = SystemCommandError(["lvcreate", "-n", "v0"], returncode, "no room\n")
    arrived = error_from_plain(json.loads(json.dumps(error_to_plain(sent))))
    assert isinstance(arrived, SystemCommandError)
    assert (arrived.argv, arrived.returncode, arrived.stderr_tail) == (sent.argv, returncode, "no room\n")
    assert arrived.message == sent.message


def test_a_class_that_inherits_its_code_arrives_as_the_one_that_introduced_it() -> None:
    class TooBusyError(BusyError):
        pass

    assert type(error_from_plain(error_to_plain(TooBusyError("busy")))) is BusyError


def test_a_code_not_known_here_is_still_an_error() -> None:
    assert type(error_from_plain({"code": "new", "message": "m", "reasons": []})) is HoldfastError


@pytest.mark.parametrize(
    "plain",
    [
        None,
        [],
        {},
        {"code": "busy"},
        {"code": "busy", "message": "m", "reasons": [{}]},
        {"code": "system-command", "message": "m"},
    ],
)
def test_an_error_that_is_none_is_invalid(plain: object) -> None:
    with pytest.raises(InvalidError):
        error_from_plain(plain)


@pytest.mark.parametrize("data", [b"", b"[]", b"nul", b"\xff\xfe", b"[" * 100000, b'{"a":'])
def test_what_is_no_object_is_invalid(data: bytes) -> None:
    with pytest.raises(InvalidError):
        read_object(data)


@pytest.mark.parametrize("body", [{"p": Secret("s")}, {"a": [{"p": Secret("s")}]}, {"a": (Secret("s"),)}])
def test_a_secret_that_nobody_revealed_is_refused(body: dict[str, object]) -> None:
    with pytest.raises(TypeError, match="reveal"):
        refuse_masked_secrets(body)


def test_a_revealed_one_is_a_text_like_any_other() -> None:
    refuse_masked_secrets({"p": Secret("s").reveal()})

"""What two nodes say to each other: versions, bounds, and errors that keep their class."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from holdfast import errors
from holdfast.errors import HoldfastError, InvalidError, Reason, SystemCommandError, UnsupportedError
from holdfast.values import Secret, from_plain, to_plain

VERSION = 1
FEATURES: frozenset[str] = frozenset()
MAX_MESSAGE_BYTES = 4 << 20


def read_object(data: bytes) -> dict[str, Any]:
    """Parse one JSON object. Raises InvalidError, whatever the bytes are."""
    try:
        plain = json.loads(data)
    except (ValueError, RecursionError) as reason:
        raise InvalidError("the other side did not send JSON") from reason
    if not isinstance(plain, dict):
        raise InvalidError("the other side did not send a JSON object")
    return plain


def refuse_unknown_version(message: Mapping[str, Any]) -> None:
    """Raise UnsupportedError unless `message` speaks this version with features known here.

    It looks at nothing else: the rest of a message of another version may have any shape.
    """
    version = message.get("version")
    remedy = "let both nodes run the same version of Holdfast"
    if type(version) is not int or version != VERSION:
        text = f"version {version!r} between nodes is not known here, only {VERSION}"
        raise UnsupportedError(text, reasons=[Reason("peer-version", text, remedy)])
    features = message.get("features")
    if not isinstance(features, list) or not all(isinstance(feature, str) for feature in features):
        raise InvalidError("features must be a list of texts")
    if unknown := sorted(set(features) - FEATURES):
        text = f"features not known here: {', '.join(map(repr, unknown))}"
        raise UnsupportedError(text, reasons=[Reason("peer-feature", text, remedy)])


def refuse_masked_secrets(value: object, path: str = "body") -> None:
    """Raise TypeError when a Secret would be sent: it would arrive as `***` and be believed."""
    if isinstance(value, Secret):
        raise TypeError(f"{path} is a Secret: reveal it where it must travel")
    if isinstance(value, Mapping):
        for key, item in value.items():
            refuse_masked_secrets(item, f"{path}.{key}")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            refuse_masked_secrets(item, f"{path}[{index}]")


def error_to_plain(error: HoldfastError) -> dict[str, Any]:
    """Make an error fit to travel."""
    plain = {"code": error.code, "message": error.message, "reasons": to_plain(error.reasons)}
    if isinstance(error, SystemCommandError):
        # A command's argv never holds secrets: that is a rule of the house.
        plain["command"] = {
            "argv": list(error.argv),
            "returncode": error.returncode,
            "stderr_tail": error.stderr_tail,
        }
    return plain


def error_from_plain(plain: object) -> HoldfastError:
    """Make the error again, of the same class. A code not known here makes a plain HoldfastError.

    Raises InvalidError when `plain` is not an error.
    """
    if not isinstance(plain, dict) or not isinstance(plain.get("message"), str):
        raise InvalidError("the other node sent an error that is none")
    reasons = from_plain(tuple[Reason, ...], plain.get("reasons", []))
    kind = _classes().get(str(plain.get("code")), HoldfastError)
    if kind is SystemCommandError:
        return _command_error(plain.get("command"))
    return kind(plain["message"], reasons=reasons)


def _command_error(command: object) -> SystemCommandError:
    match command:
        case {"argv": [str(), *_] as argv, "returncode": int() | None as returncode, "stderr_tail": str() as tail}:
            return SystemCommandError([str(word) for word in argv], returncode, tail)
    raise InvalidError("the other node sent a command's error without its command")


def _classes() -> dict[str, type[HoldfastError]]:
    """Map each code to the class of the tree that introduces it, not to one that inherits it."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, HoldfastError)]
    return {kind.code: kind for kind in kinds if "code" in vars(kind)}

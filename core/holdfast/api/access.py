"""Initiators and their credentials, as targets and groups of initiators take them."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from holdfast.api.fields import Initiator, SecretText, User
from holdfast.services.targets.credentials import AccessWanted, ChapWanted


class ChapSchema(Schema):
    """Credentials of an initiator, and of the target if it is to prove itself too (RFC 7143: 12 characters at least).

    A password that is not given stays as it was.
    """

    user = User(required=True)
    password = SecretText(shortest=12, load_default=None)
    mutual_user = User(load_default=None, allow_none=True)
    mutual_password = SecretText(shortest=12, load_default=None)

    @validates_schema
    def _two_secrets(self, data: dict[str, Any], **keywords: Any) -> None:
        if data.get("mutual_password") is not None and data.get("mutual_user") is None:
            raise ValidationError("a user is needed for it", "mutual_user")
        if data.get("password") is not None and data["password"] == data.get("mutual_password"):
            # RFC 7143, 12.1.3: whoever knows one would know the other.
            raise ValidationError("it must differ from the initiator's", "mutual_password")


class AccessSchema(Schema):
    """An initiator that may log in."""

    initiator = Initiator(required=True)
    chap = fields.Nested(ChapSchema, load_default=None, allow_none=True)
    cmdsn_depth = fields.Integer(
        load_default=64,
        strict=True,
        validate=validate.Range(min=1, max=512),
        metadata={"description": "how many commands it may have under way"},
    )


def chap_wanted(chap: dict[str, Any] | None) -> ChapWanted | None:
    """A body's credentials as a service takes them."""
    return None if chap is None else ChapWanted(**chap)


def access_wanted(item: dict[str, Any]) -> AccessWanted:
    """A body's initiator as a service takes it."""
    return AccessWanted(item["initiator"], chap_wanted(item["chap"]), item["cmdsn_depth"])

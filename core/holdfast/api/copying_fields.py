"""Fields of data replication: transport, certificates, and the rules of a task."""

from __future__ import annotations

from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from marshmallow import Schema, ValidationError, fields, post_load, validate

from holdfast.hooks.copying import FilterRule
from holdfast.hooks.filters import LONGEST_PATTERN, MOST_RULES
from holdfast.planning.copy_attempts import LONGEST_RETRY_DELAY_S, MOST_RETRIES
from holdfast.planning.copy_ways import WayWanted
from holdfast.planning.transfer_windows import MOST_WINDOWS, TransferWindow
from holdfast.services.copies.replica_documents import Transport

LONGEST_CERTIFICATE = 16384
LONGEST_ZONE = 64
LEAST_BANDWIDTH = 64 * 1024
MOST_BANDWIDTH = 64 * 1024**3


class Certificate(fields.String):
    """One X.509 certificate, PEM, in its canonical form: what stands around it is dropped."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(validate=validate.Length(max=LONGEST_CERTIFICATE), **keywords)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **keywords: Any) -> str:
        text = str(super()._deserialize(value, attr, data, **keywords))
        try:
            return x509.load_pem_x509_certificate(text.encode()).public_bytes(Encoding.PEM).decode("ascii")
        except ValueError as reason:
            raise ValidationError("a certificate as PEM is needed: see `holdfast agent certificate`") from reason


class TransportField(fields.Enum[Transport]):
    """`tls` or `plain`."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(Transport, by_value=True, **keywords)


class Bandwidth(fields.Integer):
    """Bytes a second, 64 KiB to 64 GiB; null for no limit."""

    def __init__(self, **keywords: Any) -> None:
        bounds = validate.Range(min=LEAST_BANDWIDTH, max=MOST_BANDWIDTH)
        super().__init__(strict=True, allow_none=True, validate=bounds, **keywords)


class Flag(fields.Boolean):
    """true or false, and nothing that looks like them."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(truthy={True}, falsy={False}, **keywords)


class FilterSchema(Schema):
    """Whether what matches is part of the copy; of several the first that matches decides."""

    pattern = fields.String(required=True, validate=validate.Length(min=1, max=LONGEST_PATTERN))
    is_included = Flag(required=True)

    @post_load
    def _make(self, values: dict[str, Any], **_: Any) -> FilterRule:
        return FilterRule(**values)


class WindowSchema(Schema):
    """From a time of day until another one, on weekdays; 0 is Monday."""

    weekdays = fields.List(fields.Integer(strict=True), required=True, validate=validate.Length(min=1, max=7))
    begins_at = fields.String(required=True, validate=validate.Length(equal=5))
    ends_at = fields.String(required=True, validate=validate.Length(equal=5))
    bandwidth_bytes_s = Bandwidth(load_default=None)

    @post_load
    def _make(self, values: dict[str, Any], **_: Any) -> TransferWindow:
        return TransferWindow(**{**values, "weekdays": tuple(sorted(set(values["weekdays"])))})


class TaskRulesSchema(Schema):
    """What of a task may be said when it is made and changed later; what is not said is the default, or stays."""

    is_enabled = Flag()
    transport = TransportField()
    certificate = Certificate(
        allow_none=True,
        metadata={"description": "what the agent must show; null: the partner's certificate, or this node's own"},
    )
    filters = fields.List(fields.Nested(FilterSchema), validate=validate.Length(max=MOST_RULES))
    is_deleting = Flag(metadata={"description": "whether what left the source is deleted in the copy"})
    most_deleted_percent = fields.Integer(
        strict=True,
        allow_none=True,
        validate=validate.Range(min=0, max=100),
        metadata={"description": "a run that would delete more of the copy asks first; null: it never does"},
    )
    bandwidth_bytes_s = Bandwidth()
    is_compressed = Flag()
    windows = fields.List(fields.Nested(WindowSchema), validate=validate.Length(max=MOST_WINDOWS))
    windows_time_zone = fields.String(validate=validate.Length(max=LONGEST_ZONE))
    retries = fields.Integer(strict=True, validate=validate.Range(min=0, max=MOST_RETRIES))
    retry_delay_s = fields.Integer(strict=True, validate=validate.Range(min=1, max=LONGEST_RETRY_DELAY_S))
    way = fields.Enum(
        WayWanted,
        by_value=True,
        metadata={"description": "whether a run walks everything, or looks at what changed where that is safe"},
    )


def as_values(given: dict[str, Any]) -> dict[str, Any]:
    """Lists as the tuples that documents have."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}

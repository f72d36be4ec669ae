"""Passwords of initiators: kept apart, referred to by documents, carried to the partner over mutual TLS only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from holdfast.errors import InvalidError, Reason
from holdfast.hooks.target import Chap
from holdfast.services.documents import AccessDocument, DiscoveryDocument
from holdfast.store.secrets import Secrets
from holdfast.values import Secret, to_plain

Credentials = TypeVar("Credentials", AccessDocument, DiscoveryDocument)


@dataclass(frozen=True)
class ChapWanted:
    """Credentials as the caller gives them, in the clear for as long as the call lasts.

    A password that is not given stays as it was, where the user did.
    """

    user: str
    password: Secret | None = None
    mutual_user: str | None = None
    mutual_password: Secret | None = None


@dataclass(frozen=True)
class AccessWanted:
    """An initiator as the caller names it."""

    initiator: str
    chap: ChapWanted | None = None
    cmdsn_depth: int = 64


def references(documents: Iterable[AccessDocument | DiscoveryDocument]) -> tuple[str, ...]:
    """Every secret that these refer to."""
    return tuple(
        reference
        for document in documents
        for reference in (document.chap_password, document.mutual_password)
        if reference is not None
    )


def without_references(document: AccessDocument | DiscoveryDocument) -> Any:
    """What must be equal on both nodes: of each password only whether there is one."""
    plain = to_plain(document)
    for field in ("chap_password", "mutual_password"):
        plain[field] = plain[field] is not None
    return plain


async def keep(secrets: Secrets, wanted: AccessWanted, before: AccessDocument | None = None) -> AccessDocument:
    """Keep what was given. Passwords that were not are those of `before`, by a reference of their own.

    Raises InvalidError when there is none.
    """
    chap = wanted.chap
    if chap is None:
        return AccessDocument(wanted.initiator, cmdsn_depth=wanted.cmdsn_depth)
    old = before.chap_password if before is not None and before.chap_user == chap.user else None
    old_mutual = before.mutual_password if before is not None and before.mutual_user == chap.mutual_user else None
    return AccessDocument(
        initiator=wanted.initiator,
        chap_user=chap.user,
        chap_password=await _put(secrets, chap.password, old, wanted.initiator),
        mutual_user=chap.mutual_user,
        mutual_password=None
        if chap.mutual_user is None
        else await _put(secrets, chap.mutual_password, old_mutual, wanted.initiator),
        cmdsn_depth=wanted.cmdsn_depth,
    )


async def _put(secrets: Secrets, given: Secret | None, before: str | None, whose: str) -> str:
    if given is None and before is None:
        text = f"a password of {whose} is missing: it has none yet under this user"
        raise InvalidError(text, reasons=[Reason("no-password", text, "give it", "access")])
    return await secrets.put(given if given is not None else await secrets.get(str(before)))


async def chap_of(secrets: Secrets, document: AccessDocument | DiscoveryDocument) -> Chap | None:
    """The credentials as a driver takes them."""
    if document.chap_user is None or document.chap_password is None:
        return None
    mutual = document.mutual_password
    return Chap(
        document.chap_user,
        await secrets.get(document.chap_password),
        document.mutual_user,
        None if mutual is None else await secrets.get(mutual),
    )


async def in_the_clear(secrets: Secrets, documents: Iterable[AccessDocument | DiscoveryDocument]) -> dict[str, str]:
    """Reference to secret, for the partner."""
    return {reference: (await secrets.get(reference)).reveal() for reference in references(documents)}


async def with_own_references(secrets: Secrets, document: Credentials, clear: Mapping[str, str]) -> Credentials:
    """The partner's document with its secrets kept here: its references mean nothing on this node."""
    own = {reference: await secrets.put(Secret(clear[reference])) for reference in references([document])}
    changes: dict[str, Any] = {
        field: own[reference]
        for field in ("chap_password", "mutual_password")
        if (reference := getattr(document, field)) is not None
    }
    return replace(document, **changes)


async def forget(secrets: Secrets, documents: Iterable[AccessDocument | DiscoveryDocument]) -> None:
    """The secrets that these refer to are needed no more."""
    for reference in references(documents):
        await secrets.forget(reference)

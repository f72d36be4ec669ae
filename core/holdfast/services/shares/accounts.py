"""Users and groups of shares. Only SMB knows them by name; to NFS they are numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from holdfast.errors import ConflictError, HoldfastError, InvalidError, Reason
from holdfast.hooks.share import ShareGroup, ShareUser
from holdfast.services.dependents import Dependent, refuse_if_used
from holdfast.services.drivers import Drivers
from holdfast.services.jobs import Jobs
from holdfast.services.shares.documents import (
    ShareGroupDocument,
    ShareNumbersDocument,
    ShareUserDocument,
    SmbOfferDocument,
)
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.store.intent import Intents
from holdfast.store.secrets import Secrets
from holdfast.values import Secret, from_plain, to_plain

FIRST = 20_000
LAST = 59_999
LOCK = "share-accounts:all"
_NUMBERS = "numbers"


class ShareAccounts:
    """Makes, changes and removes them; all of them are applied together."""

    def __init__(
        self,
        users: Intents[ShareUserDocument],
        groups: Intents[ShareGroupDocument],
        numbers: Intents[ShareNumbersDocument],
        offers: Intents[SmbOfferDocument],
        secrets: Secrets,
        jobs: Jobs,
        drivers: Drivers,
    ) -> None:
        self._users = users
        self._groups = groups
        self._numbers = numbers
        self._offers = offers
        self._secrets = secrets
        self._jobs = jobs
        self._drivers = drivers
        for noun in ("user", "group"):
            record, apply = Step("record", self._record, self._restore), Step("apply", self._apply_step)
            tidy = Step("forget the former password", self._tidy)
            jobs.define(JobDefinition(f"share-{noun}.set", (record, apply, tidy)))
            jobs.define(
                JobDefinition(f"share-{noun}.delete", (Step("forget", self._record, self._restore), apply, tidy))
            )

    async def users(self) -> tuple[ShareUserDocument, ...]:
        """All users, by name."""
        return tuple((await self._users.all()).values())

    async def user(self, name: str) -> ShareUserDocument:
        """One user. Raises NotFoundError."""
        return await self._users.get(name)

    async def groups(self) -> tuple[ShareGroupDocument, ...]:
        """All groups, by name."""
        return tuple((await self._groups.all()).values())

    async def group(self, name: str) -> ShareGroupDocument:
        """One group. Raises NotFoundError."""
        return await self._groups.get(name)

    async def refuse_unknown(self, *, users: Iterable[str], groups: Iterable[str]) -> None:
        """Raise InvalidError naming every user and group that does not exist."""
        known_users, known_groups = await self._users.all(), await self._groups.all()
        missing = [("user", name, "users") for name in sorted(users) if name not in known_users]
        missing += [("group", name, "groups") for name in sorted(groups) if name not in known_groups]
        if missing:
            reasons = [
                Reason("unknown", f"there is no share {noun} {name!r}", f"make it with POST /v1/share-{noun}s", field)
                for noun, name, field in missing
            ]
            raise InvalidError("; ".join(reason.text for reason in reasons), reasons=reasons)

    async def create_user(
        self, name: str, password: Secret, uid: int | None, label: str, *, validate_only: bool
    ) -> str | None:
        """Make a user; with `uid` None the next number is given."""

        async def check() -> None:
            if await self._users.find(name) is not None:
                raise ConflictError(f"there is a share user {name}")
            if uid is not None:
                _refuse_number("uid", uid, {u.name: u.uid for u in await self.users()})
            self._drivers.smb()

        if validate_only:
            await check()
            return None
        reference = await self._secrets.put(password)
        parameters: dict[str, Any] = {"noun": "user", "name": name, "before": None, "document": None}

        async def check_and_number() -> None:
            await check()
            number = uid if uid is not None else await self._next("uid", {u.uid for u in await self.users()})
            parameters["document"] = to_plain(ShareUserDocument(name, number, reference, label))

        return await self._start("share-user.set", f"share-user:{name}", parameters, check_and_number, reference)

    async def set_password(self, name: str, password: Secret, *, validate_only: bool) -> str | None:
        """Give a user another password. His sessions end."""
        document = await self._users.get(name)
        if validate_only:
            self._drivers.smb()
            return None
        reference = await self._secrets.put(password)
        after = replace(document, password=reference)
        parameters = {"noun": "user", "name": name, "before": to_plain(document), "document": to_plain(after)}
        return await self._start("share-user.set", f"share-user:{name}", parameters, self._check_driver, reference)

    async def delete_user(self, name: str, *, validate_only: bool) -> str | None:
        """Remove a user; his files stay, with his number. Refused while a group or an offer names him."""
        document = await self._users.get(name)

        async def check() -> None:
            found = [Dependent("share-group", g.name) for g in await self.groups() if name in g.members]
            found += [
                Dependent("smb-offer", o.share) for o in (await self._offers.all()).values() if name in o.names("users")
            ]
            refuse_if_used(f"the share user {name}", found)

        if validate_only:
            await check()
            return None
        parameters = {"noun": "user", "name": name, "before": to_plain(document), "document": None}
        return await self._start("share-user.delete", f"share-user:{name}", parameters, check)

    async def set_group(
        self, name: str, members: tuple[str, ...], gid: int | None, *, is_new: bool, validate_only: bool
    ) -> str | None:
        """Make a group, or give one other members. Sessions of those who are taken out end."""
        before = None if is_new else await self._groups.get(name)
        parameters: dict[str, Any] = {"noun": "group", "name": name, "before": None, "document": None}

        async def check() -> None:
            if is_new and await self._groups.find(name) is not None:
                raise ConflictError(f"there is a share group {name}")
            await self.refuse_unknown(users=members, groups=())
            taken = {g.name: g.gid for g in await self.groups()}
            if gid is not None:
                _refuse_number("gid", gid, taken)
            self._drivers.smb()

        async def check_and_number() -> None:
            await check()
            number = before.gid if before else gid
            if number is None:
                number = await self._next("gid", {g.gid for g in await self.groups()})
            parameters["before"] = None if before is None else to_plain(before)
            parameters["document"] = to_plain(ShareGroupDocument(name, number, tuple(sorted(set(members)))))

        if validate_only:
            await check()
            return None
        return await self._start("share-group.set", f"share-group:{name}", parameters, check_and_number)

    async def delete_group(self, name: str, *, validate_only: bool) -> str | None:
        """Remove a group. Refused while an offer names it."""
        document = await self._groups.get(name)

        async def check() -> None:
            offers = (await self._offers.all()).values()
            found = [Dependent("smb-offer", o.share) for o in offers if name in o.names("groups")]
            refuse_if_used(f"the share group {name}", found)

        if validate_only:
            await check()
            return None
        parameters = {"noun": "group", "name": name, "before": to_plain(document), "document": None}
        return await self._start("share-group.delete", f"share-group:{name}", parameters, check)

    async def apply(self) -> None:
        """Have the accounts that are wanted."""
        users = tuple(
            [ShareUser(u.name, u.uid, await self._secrets.get(u.password), u.password) for u in await self.users()]
        )
        groups = tuple(ShareGroup(g.name, g.gid, g.members) for g in await self.groups())
        await self._drivers.smb().set_accounts(users, groups)

    async def restore(self) -> None:
        """The same unless a job is at it, as after a boot."""
        await self._jobs.locks.mend(LOCK, self.apply)

    async def _check_driver(self) -> None:
        self._drivers.smb()

    async def _next(self, which: str, taken: set[int]) -> int:
        kept = await self._numbers.find(_NUMBERS)
        numbers = kept.document if kept else ShareNumbersDocument(FIRST, FIRST)
        number: int = max(getattr(numbers, which), *(n + 1 for n in taken if n <= LAST), FIRST)
        await self._numbers.put(_NUMBERS, replace(numbers, **{which: number + 1}))
        return number

    async def _start(
        self, kind: str, target: str, parameters: dict[str, Any], check: Any, reference: str | None = None
    ) -> str:
        try:
            return await self._jobs.start(kind, target, parameters, locks=[LOCK], check=check)
        except HoldfastError:
            if reference is not None:
                await self._secrets.forget(reference)
            raise

    # --- steps ---

    async def _put(self, noun: str, name: str, plain: Any) -> None:
        if noun == "user":
            if plain is None:
                await self._users.remove(name)
            else:
                await self._users.put(name, from_plain(ShareUserDocument, plain))
        elif plain is None:
            await self._groups.remove(name)
        else:
            await self._groups.put(name, from_plain(ShareGroupDocument, plain))

    async def _record(self, job: JobContext) -> None:
        given = job.parameters
        await self._put(given["noun"], given["name"], given["document"])

    async def _restore(self, job: JobContext) -> None:
        given = job.parameters
        await self._put(given["noun"], given["name"], given["before"])
        try:
            await self.apply()
        except HoldfastError as reason:  # the record is what counts: the reconciler goes on from it
            await job.log(f"the accounts cannot be as they were before now: {reason.message}")
        if given["noun"] == "user" and given["document"] is not None:
            await self._secrets.forget(given["document"]["password"])

    async def _apply_step(self, job: JobContext) -> None:
        await self.apply()
        document = job.parameters["document"]
        job.result = None if document is None else {k: v for k, v in document.items() if k != "password"}

    async def _tidy(self, job: JobContext) -> None:
        given = job.parameters
        if given["noun"] == "user" and given["before"] is not None:
            await self._secrets.forget(given["before"]["password"])


def _refuse_number(field: str, number: int, taken: dict[str, int]) -> None:
    owner = next((name for name, known in taken.items() if known == number), None)
    if owner is not None:
        text = f"the number {number} is that of {owner}"
        raise ConflictError(text, reasons=[Reason("number-taken", text, "leave it out, or choose another", field)])

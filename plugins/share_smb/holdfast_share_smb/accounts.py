"""Users and groups: of the system, because files belong to numbers, and of Samba, because of the password.

Which of them are ours stands in a file that is written before anything is made: an account of the same name that is
not in it is somebody else's, and is never touched.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from holdfast.errors import ConflictError, Reason
from holdfast.hooks.base import Host
from holdfast.hooks.share import ShareGroup, ShareUser
from holdfast.system.files import write_atomically
from holdfast.values import from_plain, to_plain
from holdfast_share_smb.samba import Samba
from holdfast_share_smb.settings import Settings

_TIMEOUT_S = 30.0
EndSessions = Callable[[frozenset[str]], Awaitable[None]]


@dataclass(frozen=True)
class Note:
    """What is ours: of users the number and the version of the password that was set, of groups the number."""

    users: dict[str, tuple[int, str]] = field(default_factory=dict)
    groups: dict[str, int] = field(default_factory=dict)
    ending: tuple[str, ...] = ()
    """Users whose sessions must end before a change that was begun is over."""


@dataclass(frozen=True)
class Present:
    """The accounts of the system, whoever made them."""

    users: dict[str, int]
    groups: dict[str, tuple[int, tuple[str, ...]]]


def read_passwd(text: str) -> dict[str, int]:
    """Name to number, of what `getent passwd` prints."""
    rows = [line.split(":") for line in text.splitlines()]
    return {row[0]: int(row[2]) for row in rows if len(row) > 2}


def read_group(text: str) -> dict[str, tuple[int, tuple[str, ...]]]:
    """Name to number and members, of what `getent group` prints."""
    rows = [line.split(":") for line in text.splitlines()]
    return {r[0]: (int(r[2]), tuple(sorted(filter(None, r[3].split(","))))) for r in rows if len(r) > 3}


def conflicts(
    users: Iterable[ShareUser], groups: Iterable[ShareGroup], present: Present, note: Note
) -> tuple[Reason, ...]:
    """Why these accounts cannot be made: a name or a number is somebody else's."""
    found = []
    for noun, wanted, there, ours in (
        ("user", {u.name: u.uid for u in users}, present.users, {n: uid for n, (uid, _) in note.users.items()}),
        ("group", {g.name: g.gid for g in groups}, {n: g[0] for n, g in present.groups.items()}, note.groups),
    ):
        for name, number in wanted.items():
            other = next((n for n, known in there.items() if known == number and n != name), None)
            if name in there and (name not in ours or there[name] != number):
                text = f"the system has a {noun} {name} of its own, with the number {there[name]}"
                found.append(Reason("name-taken", text, "choose another name", "name"))
            elif other is not None and other not in ours:
                text = f"the number {number} is that of the {noun} {other} of the system"
                found.append(Reason("number-taken", text, "choose another number", "uid" if noun == "user" else "gid"))
    return tuple(found)


class Accounts:
    """Makes and removes them."""

    def __init__(self, settings: Settings, host: Host, samba: Samba) -> None:
        self._settings = settings
        self._host = host
        self._samba = samba
        self._file = host.state_dir / "accounts.json"

    async def ensure_group(self) -> None:
        """Have the group that owns what users make. Raises ConflictError when its number is another one's."""
        name, gid = self._settings.group, self._settings.group_gid
        present = await self._present()
        other = next((n for n, (number, _) in present.groups.items() if number == gid and n != name), None)
        if other is not None or present.groups.get(name, (gid, ()))[0] != gid:
            text = f"the group {name} cannot have the number {gid}: the system has other plans for one of them"
            remedy = "set group or group_gid of the plugin, the same on both nodes"
            raise ConflictError(text, reasons=[Reason("group-taken", text, remedy)])
        if name not in present.groups:
            await self._run("groupadd", "--gid", str(gid), name)

    async def read(self) -> tuple[tuple[str, ...], tuple[ShareGroup, ...]]:
        """See SmbDriver.list_accounts: who can log in, and the groups of the system."""
        note, present = await self._note(), await self._present()
        known = await self._samba.all_users() if note.users else frozenset()
        users = [n for n, (uid, _) in note.users.items() if present.users.get(n) == uid and n in known]
        groups = [
            ShareGroup(name, gid, present.groups[name][1])
            for name, gid in note.groups.items()
            if present.groups.get(name, (None, ()))[0] == gid
        ]
        return tuple(sorted(users)), tuple(sorted(groups, key=lambda group: group.name))

    async def apply(
        self, users: tuple[ShareUser, ...], groups: tuple[ShareGroup, ...], end_sessions: EndSessions
    ) -> None:
        """Have exactly these. `end_sessions` of who is gone or in fewer groups, or has a new password.

        Raises ConflictError before anything was changed.
        """
        note = await self._note()
        if not users and not groups and note == Note():
            return  # a node without shares is left as it is
        present = await self._present()
        if reasons := conflicts(users, groups, present, note):
            raise ConflictError("; ".join(reason.text for reason in reasons), reasons=reasons)
        wanted = {user.name: user for user in users}
        changed = {
            name
            for name, (_, version) in note.users.items()
            if name not in wanted or wanted[name].password_version != version
        }
        changed |= {*self._left_a_group(note, present, groups), *note.ending}
        ours = {**{user.name: (user.uid, "") for user in users}, **note.users}
        numbers = {**{group.name: group.gid for group in groups}, **note.groups}
        await self._remember(Note(ours, numbers, tuple(sorted(changed))))
        await self.ensure_group()
        gone = set(note.users) - set(wanted)
        for name in sorted(gone & await self._samba.all_users()):
            await self._samba.remove_user(name)
        await self._make(users, groups, note)
        # Before the system forgets them: it keeps a user that a process works for.
        await end_sessions(frozenset(changed))
        await self._remove(present, gone, set(note.groups) - {group.name for group in groups})
        made = {user.name: (user.uid, user.password_version) for user in users}
        await self._remember(Note(made, {group.name: group.gid for group in groups}))

    @staticmethod
    def _left_a_group(note: Note, present: Present, groups: tuple[ShareGroup, ...]) -> set[str]:
        members = {group.name: set(group.members) for group in groups}
        return {
            member
            for name in note.groups
            for member in present.groups.get(name, (0, ()))[1]
            if member not in members.get(name, set())
        }

    async def _remove(self, present: Present, users: set[str], groups: set[str]) -> None:
        for name in sorted(users & set(present.users)):
            await self._run("userdel", name)
        for name in sorted(groups & set(present.groups)):
            await self._run("groupdel", name)

    async def _make(self, users: tuple[ShareUser, ...], groups: tuple[ShareGroup, ...], note: Note) -> None:
        present, known = await self._present(), await self._samba.all_users()
        for user in users:
            if user.name not in present.users:
                numbers = ("--uid", str(user.uid), "--gid", str(self._settings.group_gid), "--no-user-group")
                nowhere = ("--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin")
                await self._run("useradd", *numbers, *nowhere, "--comment", "Holdfast", user.name)
            if user.name not in known or note.users.get(user.name, (0, ""))[1] != user.password_version:
                await self._samba.set_password(user.name, user.password)
        for group in groups:
            if group.name not in present.groups:
                await self._run("groupadd", "--gid", str(group.gid), group.name)
            if present.groups.get(group.name, (0, ()))[1] != tuple(sorted(group.members)):
                await self._run("gpasswd", "--members", ",".join(group.members), group.name)

    # --- what is there, and what is ours ---

    async def _present(self) -> Present:
        passwd, group = await self._run("getent", "passwd"), await self._run("getent", "group")
        return Present(read_passwd(passwd), read_group(group))

    async def _note(self) -> Note:
        return await asyncio.to_thread(self._read_note)

    def _read_note(self) -> Note:
        if not self._file.exists():
            return Note()
        return from_plain(Note, json.loads(self._file.read_text()))

    async def _remember(self, note: Note) -> None:
        if note != await self._note():
            await asyncio.to_thread(write_atomically, self._file, json.dumps(to_plain(note)).encode())

    async def _run(self, *argv: str) -> str:
        return (await self._host.commands.run(argv, timeout_s=_TIMEOUT_S)).stdout

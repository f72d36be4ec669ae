"""The node's side: one connection that is kept, one request at a time, and never a wait for whoever decides.

Runs in the monitor's loop. Nothing of it blocks: addresses are numbers, certificates are read before it begins.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Iterable

from holdfast.errors import HoldfastError
from holdfast.hooks.witness import Witness, WitnessFacts
from holdfast.peer.frames import Channel
from holdfast.witness.wire import GROUPS_A_FRAME, GroupWord, Reply, Request, decode_reply, encode

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5
ANSWER_S = 1.0
"""A request that is not answered by then ends its connection: nothing that comes later is believed."""
AGAIN_AFTER_S = 1.0
FRESH_S = 3.0
"""For so long an answer says what is so."""
CLAIM_S = 0.5
"""A claim that was not renewed for so long is no longer meant, and not sent any more."""


class WitnessClient(Witness):
    """See Witness. `groups` names the groups that there are, `wake` is called after each answer that says anything new.

    `boot_s`: the clock by which answers age. `tls` is called once, in a thread.
    """

    def __init__(
        self,
        address: str,
        port: int,
        tls: Callable[[], ssl.SSLContext],
        *,
        groups: Callable[[], Iterable[str]],
        wake: Callable[[], None],
        boot_s: Callable[[], float],
    ) -> None:
        self._address = address
        self._port = port
        self._tls = tls
        self._groups = groups
        self._wake = wake
        self._boot_s = boot_s
        self._session = ""
        self._words: dict[str, GroupWord] = {}
        self._answered_s: dict[str, float] = {}
        self._held: set[str] = set()
        self._claims: dict[str, int] = {}
        self._claimed_s: dict[str, float] = {}
        self._releases: dict[str, tuple[str, int]] = {}
        self._number = 0
        self._is_there: bool | None = None
        self._last_s = 0.0
        self._turn = 0
        self._wanted = asyncio.Event()

    # --- what is asked of it ---

    @property
    def answers(self) -> bool:
        """See Witness."""
        return self._is_there is True and self._boot_s() - self._last_s <= FRESH_S

    def facts(self, group: str) -> WitnessFacts:
        """See Witness."""
        word, answered_s = self._words.get(group), self._answered_s.get(group)
        holds = group in self._held
        if word is None or answered_s is None or self._boot_s() - answered_s > FRESH_S:
            return WitnessFacts(holds=holds)
        return WitnessFacts(True, word.has_released, word.is_open, holds)

    def claim(self, group: str) -> None:
        """See Witness."""
        if group not in self._claims:
            self._number += 1
            self._claims[group] = self._number
            self._wanted.set()
        self._claimed_s[group] = self._boot_s()

    def release(self, group: str) -> None:
        """See Witness."""
        self._held.discard(group)
        # The answer to an earlier claim, which may be on its way, grants nothing any more: its number is forgotten.
        self._claims.pop(group, None)
        word = self._words.pop(group, None)
        if word is not None:
            self._releases[group] = self._session, word.version
            self._wanted.set()

    # --- the connection ---

    async def run(self) -> None:
        """See Witness."""
        tls: ssl.SSLContext | None = None
        while True:
            try:
                if tls is None:
                    tls = await asyncio.to_thread(self._tls)
                await self._converse(tls)
            except (OSError, EOFError, ValueError, HoldfastError) as reason:
                self._lost(reason)
            await asyncio.sleep(AGAIN_AFTER_S)

    async def _converse(self, tls: ssl.SSLContext) -> None:
        channel = await Channel.open(self._address, self._port, tls)
        try:
            while True:
                await self._ask(channel)
                await self._wait()
        finally:
            channel.abort()

    def _lost(self, reason: Exception) -> None:
        if self._is_there is not False:
            why = str(reason) or type(reason).__name__
            log.warning("the witness at %s does not answer: %s", self._address, why)
        self._is_there = False
        self._words.clear()
        self._releases.clear()
        self._wake()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(LOOK_EVERY_S):
                await self._wanted.wait()
        except TimeoutError:
            pass

    async def _ask(self, channel: Channel) -> None:
        request = self._request()
        await channel.send(encode(request))
        self._take(request, decode_reply(await channel.receive(timeout_s=ANSWER_S)))

    def _request(self) -> Request:
        """What is wanted now, and a part of all groups, in turn; what did not fit wants the next request at once."""
        now_s = self._boot_s()
        for group in [name for name in self._claims if now_s - self._claimed_s[name] > CLAIM_S]:
            del self._claims[group]
        known = sorted(self._groups())
        claims = dict(list(self._claims.items())[: GROUPS_A_FRAME // 2])
        # Of another session they are worth nothing.
        named = [name for name, (session, _) in self._releases.items() if session == self._session]
        named = named[: GROUPS_A_FRAME // 2 - len(claims)]
        releases = {name: self._releases[name][1] for name in named}
        self._releases = {name: one for name, one in self._releases.items() if name not in releases}
        room = GROUPS_A_FRAME - len({*claims, *releases})
        seen = known[self._turn : self._turn + room]
        self._turn = self._turn + room if self._turn + room < len(known) else 0
        self._wanted.clear()
        if self._turn or len(claims) < len(self._claims):
            self._wanted.set()
        return Request(tuple(dict.fromkeys([*claims, *releases, *seen])), self._session, releases, claims)

    def _take(self, request: Request, reply: Reply) -> None:
        now_s = self._last_s = self._boot_s()
        if not self._is_there:
            log.info("the witness at %s answers", self._address)
        self._is_there = True
        before = (dict(self._words), set(self._held))
        if reply.session != self._session:
            # It started anew: whatever it said before it does not know.
            self._session = reply.session
            self._words.clear()
            self._releases.clear()
        for group, word in reply.groups.items():
            if group in request.groups and group not in self._releases:
                self._words[group] = word
                self._answered_s[group] = now_s
        for group, number in reply.granted.items():
            if self._claims.get(group) == number:
                self._held.add(group)
        for group, number in request.claims.items():
            if self._claims.get(group) == number:
                del self._claims[group]  # granted or refused; whoever still needs it claims it again
        if before != (self._words, self._held):
            self._wake()

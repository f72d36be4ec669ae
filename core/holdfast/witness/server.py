"""The witness's side: mutual TLS 1.3 with the nodes of the pairs it was made for, and one register for each pair."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from holdfast.errors import InvalidError
from holdfast.peer.frames import Channel
from holdfast.peer.identity import Identity, fingerprint_of, read_certificate
from holdfast.peer.tls import HANDSHAKE_S, witness_server_context
from holdfast.witness.register import Register
from holdfast.witness.wire import GroupWord, Reply, Request, decode_request, encode

log = logging.getLogger(__name__)

IDLE_S = 30.0
"""A node asks every second; a connection on which it does not is closed."""


@dataclass(frozen=True)
class _Caller:
    pair: str
    node: str
    register: Register


class WitnessServer:
    """Answers the nodes of `pairs`: by the name of each pair the certificates of its two nodes, as PEM.

    Raises InvalidError for what is no certificate of a node, is there twice, or for two nodes of one name.
    """

    def __init__(self, identity: Identity, pairs: Mapping[str, tuple[str, str]]) -> None:
        self.session = secrets.token_hex(8)
        self._callers: dict[str, _Caller] = {}
        self._channels: dict[str, Channel] = {}
        self._talks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        for pair, certificates in pairs.items():
            first, second = (read_certificate(pem) for pem in certificates)
            if first.node == second.node:
                raise InvalidError(f"the pair {pair} has two nodes of the name {first.node}")
            register = Register((first.node, second.node))
            for named in (first, second):
                if named.fingerprint in self._callers:
                    raise InvalidError(f"the certificate of {named.node} is there twice: a node has one partner")
                self._callers[named.fingerprint] = _Caller(pair, named.node, register)
        everyone = "".join(pem for certificates in pairs.values() for pem in certificates)
        self._tls = witness_server_context(identity, everyone)

    async def start(self, address: str, port: int) -> int:
        """Listen; return the port. Raises OSError."""
        self._server = await asyncio.start_server(
            self._accept, address, port, ssl=self._tls, ssl_handshake_timeout=HANDSHAKE_S, backlog=16
        )
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Answer nobody any more. Repeating it is success."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for talk in self._talks:
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = asyncio.current_task()
        assert talk is not None
        self._talks.add(talk)
        talk.add_done_callback(self._talks.discard)
        channel = Channel(reader, writer)
        try:
            await self._converse(channel)
        except (InvalidError, EOFError, TimeoutError, OSError) as reason:
            log.info("a conversation with %s ended: %s", channel.peer_address, reason or type(reason).__name__)
        finally:
            await channel.close()

    async def _converse(self, channel: Channel) -> None:
        # TLS has let nobody else in; by the fingerprint is meant who it is. Before that nothing is read.
        fingerprint = fingerprint_of(channel.peer_certificate())
        caller = self._callers.get(fingerprint)
        if caller is None:
            raise InvalidError("a stranger's certificate")
        # What may still wait on an earlier connection of this node is older than all that it says from here on.
        if (earlier := self._channels.get(fingerprint)) is not None:
            earlier.abort()
        self._channels[fingerprint] = channel
        log.info("node %s of the pair %s is here", caller.node, caller.pair)
        try:
            while True:
                request = decode_request(await channel.receive(timeout_s=IDLE_S))
                if self._channels.get(fingerprint) is not channel:
                    return
                await channel.send(encode(self._answer(caller, request)))
        finally:
            if self._channels.get(fingerprint) is channel:
                del self._channels[fingerprint]

    def _answer(self, caller: _Caller, request: Request) -> Reply:
        """Carry a request out, whole and at once."""
        register, node = caller.register, caller.node
        if request.session == self.session:
            for group, version in request.releases.items():
                register.release(node, group, version)
        granted = {}
        for group, number in request.claims.items():
            is_granted = register.claim(node, group)
            if is_granted:
                granted[group] = number
                log.info("node %s of the pair %s may go on with the group %s alone", node, caller.pair, group)
        words = {}
        for group in request.groups:
            word = register.word(node, group)
            words[group] = GroupWord(word.version, word.has_released, register.is_open(node, group))
        return Reply(self.session, words, granted)

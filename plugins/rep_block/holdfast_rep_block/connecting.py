"""How a mirror is told of its peer: DRBD's connect command, with all options and the secret, by netlink."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from holdfast.hooks.replication import MirrorSpec
from holdfast_rep_block import genetlink, options
from holdfast_rep_block.drbdsetup import refusal
from holdfast_rep_block.genetlink import Answer

log = logging.getLogger(__name__)

# linux/drbd_genl.h
_CONNECT = 10
_NET_CONF = 5
_DISCARD_MY_DATA = 25

Ask = Callable[[int, bytes], Answer]
"""Makes the kernel carry out a command of DRBD: its number, and its attributes."""


class Connector:
    """Connects mirrors."""

    def __init__(self, ask: Ask = genetlink.ask) -> None:
        self._ask = ask

    async def connect(self, spec: MirrorSpec, *, discard_my_data: bool = False) -> None:
        """Let a mirror connect, and go on trying.

        With `discard_my_data` this side gives way if both have changed. Raises RefusedError with the kernel's reason.
        """
        conf = [*options.net(spec.secret)]
        if discard_my_data:
            conf.append(genetlink.flag(_DISCARD_MY_DATA, True))
        payload = genetlink.context(spec.name, spec.local, spec.remote) + genetlink.nested(_NET_CONF, *conf)
        answer = await asyncio.to_thread(self._ask, _CONNECT, payload)
        if not answer.is_done:
            raise refusal(answer.number, answer.text or "it cannot connect")
        log.info("mirror %s was told of its peer %s", spec.name, spec.remote.address)

"""One TLS handshake with an agent, without a word after it: to hear for certain why it does not take our certificate.

In TLS 1.3 a client is done before the server has looked at its certificate. What it has sent by then makes the
server's kernel reset the connection, which often overtakes the alert that says why (RFC 8446, 4.4; tcp(7)).
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl

from holdfast.hooks.copying import Tls
from holdfast.hooks.replication import AgentSpec


async def refusal(agent: AgentSpec, tls: Tls, *, within_s: float) -> str | None:
    """The agent's alert, in OpenSSL's words; None if it has none.

    Nobody is believed here and nothing is sent: whether the agent is the right one was judged by the tunnel.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    await asyncio.to_thread(context.load_cert_chain, tls.certificate_file, tls.key_file)
    with contextlib.suppress(OSError, TimeoutError):
        try:
            async with asyncio.timeout(within_s):
                reader, writer = await asyncio.open_connection(agent.address, agent.port, ssl=context)
                try:
                    # One that takes the certificate greets.
                    await reader.read(1)
                finally:
                    writer.close()
        except ssl.SSLError as reason:
            return str(reason.reason or reason).replace("_", " ").lower()
    return None

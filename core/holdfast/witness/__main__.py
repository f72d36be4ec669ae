"""`holdfast-witness`: run on a third host, for the pairs whose nodes' certificates lie in its directory."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

from holdfast.errors import HoldfastError, InvalidError, Reason
from holdfast.hooks.links import WITNESS_PORT
from holdfast.peer.identity import Identity, load_or_create_identity
from holdfast.witness.server import WitnessServer

log = logging.getLogger("holdfast.witness")

NAME = "witness"


def read_pairs(directory: Path) -> dict[str, tuple[str, str]]:
    """By the name of each directory in `pairs` the two certificates in it. Raises InvalidError."""
    pairs = {}
    for one in sorted(path for path in (directory / "pairs").iterdir() if path.is_dir()):
        files = sorted(one.glob("*.pem"))
        if len(files) != 2:
            text = f"{one} holds {len(files)} certificates, and a pair has two nodes"
            remedy = "put the tls/certificate.pem of each node there, as NODE.pem"
            raise InvalidError(text, reasons=[Reason("pair", text, remedy, one.name)])
        pairs[one.name] = (files[0].read_text("ascii"), files[1].read_text("ascii"))
    return pairs


async def run(identity: Identity, directory: Path, address: str, port: int) -> None:
    """Be the witness until SIGTERM or SIGINT."""
    me = asyncio.current_task()
    assert me is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, me.cancel)
    pairs = await asyncio.to_thread(read_pairs, directory)
    server = WitnessServer(identity, pairs)
    listened = await server.start(address, port)
    log.info("the witness of %s listens on %s port %d", ", ".join(pairs) or "no pair", address, listened)
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        log.info("the witness ends, and knows no word of anybody when it starts again")
    finally:
        await server.stop()


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point of `holdfast-witness`."""
    parser = argparse.ArgumentParser("holdfast-witness", description=__doc__)
    parser.add_argument("--directory", type=Path, default=Path("/var/lib/holdfast-witness"))
    parser.add_argument("--address", type=ip_address, default="0.0.0.0")  # noqa: S104 - mutual TLS, pinned
    parser.add_argument("--port", type=int, default=WITNESS_PORT)
    parser.add_argument("--show-certificate", action="store_true", help="print it, made if there is none, and end")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        (options.directory / "pairs").mkdir(mode=0o700, parents=True, exist_ok=True)
        identity = load_or_create_identity(options.directory / "identity", NAME, datetime.now(UTC))
        if options.show_certificate:
            sys.stdout.write(identity.certificate_pem)
            return
        asyncio.run(run(identity, options.directory, str(options.address), options.port))
    except (HoldfastError, OSError) as reason:
        sys.stderr.write(f"holdfast-witness: {reason}\n")
        raise SystemExit(1) from reason


if __name__ == "__main__":
    main()

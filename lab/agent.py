"""The agent in a node: runs what the host asks for, and nothing by itself.

It listens in the network namespace `lab-control`, made by init.sh, and works in the node's own:
no link or packet filter of the node can come between the host and the agent.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from pathlib import Path
from typing import Any

from lab import execution, frames, netns
from lab.services import Services


def main() -> None:
    """Serve for ever, one thread for each connection."""
    # What runs in the node must not inherit how the agent was started.
    for name in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE"):
        os.environ.pop(name, None)
    services = Services(Path("/host/services"))
    services.start_enabled()
    listener = netns.socket_in("lab-control")
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("0.0.0.0", frames.PORT))  # noqa: S104 - alone in its namespace
    listener.listen(64)
    while True:
        conn, _ = listener.accept()
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_serve, args=(conn, services), daemon=True).start()


def _serve(conn: socket.socket, services: Services) -> None:
    with conn:
        try:
            _, payload = frames.receive(conn)
            request: dict[str, Any] = json.loads(payload)
            if request["op"] == "exec":
                execution.execute(conn, request)
            else:
                frames.send(conn, frames.ANSWER, _answer(conn, request, services))
        except (EOFError, ConnectionError):
            return
        except (OSError, ValueError, KeyError) as reason:
            code = getattr(reason, "errno", None)
            fault = {"errno": code, "message": f"{type(reason).__name__}: {reason}"}
            frames.send(conn, frames.FAULT, json.dumps(fault).encode())


def _answer(conn: socket.socket, request: dict[str, Any], services: Services) -> bytes:
    match request["op"]:
        case "ping":
            return b"null"
        case "read_file":
            return Path(request["path"]).read_bytes()
        case "write_file":
            _, content = frames.receive(conn)
            _write_file(Path(request["path"]), content, request["mode"])
            return b"null"
        case "start_service":
            services.start(
                request["name"],
                request["argv"],
                request["env"],
                restart=request["restart"],
                at_boot=request["at_boot"],
            )
            return b"null"
        case "stop_service":
            services.stop(request["name"])
            return b"null"
        case "kill_service":
            services.kill(request["name"], request["signal"])
            return b"null"
        case "services":
            return json.dumps(services.status()).encode()
    raise ValueError(f"unknown request {request['op']}")


def _write_file(path: Path, content: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(handle, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(content)


if __name__ == "__main__":
    main()

"""The program that the kernel's DRBD runs when it has something to say or to ask.

Installed by `fencing.py` with the two names below filled in, and run by the kernel as root with nearly nothing in its
environment: `fence-peer NAME` asks whether NAME may go on without its peer, by exit code; every other event
(`split-brain minor-0`, ...) is only told. It asks whoever serves the socket, and knows nothing itself:

- A running Primary is frozen until an answer comes, so it waits for one, however long that takes: nobody would
  ask again, and frozen is safe.
- On a promotion the kernel holds the resource's lock meanwhile, and asks up to four times; so it
  refuses soon when nobody answers.
- If the peer is connected again the answer matters no more, and it ends.

Only modules that need no import path, so that it starts fast (`python -IS`).
"""

import _socket
import os
import sys
import time

SOCKET = "@SOCKET@"
DRBDSETUP = "@DRBDSETUP@"

# No verdict: the kernel leaves things as they are (drbd_nl.c:conn_try_outdate_peer).
NO_VERDICT = 1

REDIAL_S = 0.1
LOOK_EVERY_S = 0.5
NOBODY_LISTENS_S = 0.4
NO_ANSWER_S = 2.0


def open_standard_streams() -> None:
    """Fill descriptors 0 to 2: the kernel starts programs with none, and a pipe would take their place."""
    while (descriptor := os.open("/dev/null", os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def dial(request: str) -> "_socket.socket | None":
    """Send the request; None if nobody listens."""
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        connection.settimeout(LOOK_EVERY_S)
        connection.connect(SOCKET)
        connection.send(request.encode() + b"\n")
    except OSError:
        connection.close()
        return None
    return connection


def look(name: str) -> "tuple[str, str]":
    """The role and connection of a mirror, in DRBD's words; empty if they cannot be read."""
    reader, writer = os.pipe()
    try:
        actions = [(os.POSIX_SPAWN_DUP2, writer, 1), (os.POSIX_SPAWN_CLOSE, reader)]
        child = os.posix_spawn(DRBDSETUP, [DRBDSETUP, "events2", "--now", name], os.environ, file_actions=actions)
        os.close(writer)
        writer = -1
        text = b""
        while piece := os.read(reader, 65536):
            text += piece
        os.waitpid(child, 0)
    except OSError:
        return "", ""
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)
    found = {"resource": "", "connection": ""}
    for line in text.decode(errors="replace").splitlines():
        words = line.split()
        if len(words) > 1 and words[1] in found:
            key = "role:" if words[1] == "resource" else "connection:"
            found[words[1]] = next((word[len(key) :] for word in words[2:] if word.startswith(key)), "")
    return found["resource"], found["connection"]


def answer(connection: "_socket.socket") -> "int | None":
    """The exit code that was answered; None if none came in time. Raises OSError when the line broke."""
    try:
        data = connection.recv(16)
    except TimeoutError:
        return None
    if not data:
        raise ConnectionResetError
    return int(data)


def fence_peer(name: str) -> int:
    """Ask until there is a verdict, or until none is needed."""
    request = f"fence-peer {name}"
    began_s = time.monotonic()
    connection = None
    look_at_s = began_s + LOOK_EVERY_S
    while True:
        connection = connection or dial(request)
        is_heard = connection is not None
        if connection is None:
            time.sleep(REDIAL_S)
        else:
            try:
                code = answer(connection)
            except (OSError, ValueError):
                connection.close()
                connection, code = None, None
                time.sleep(REDIAL_S)
            if code is not None:
                return code
        now_s = time.monotonic()
        if now_s < look_at_s and is_heard:
            continue
        look_at_s = now_s + LOOK_EVERY_S
        role, state = look(name)
        patience_s = NO_ANSWER_S if is_heard else NOBODY_LISTENS_S
        if state == "Connected" or (role == "Secondary" and now_s - began_s > patience_s):
            return NO_VERDICT


def main(argv: "list[str]") -> int:
    """Do what the kernel calls for; see the module."""
    open_standard_streams()
    event, subject = argv[1], argv[2]
    if event == "fence-peer":
        return fence_peer(subject)
    if (connection := dial(f"{event} {subject}")) is not None:
        connection.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))

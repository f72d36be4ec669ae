"""A database at work on the initiator, by the standard library alone: run by path in its node.

    python3 tests/lab/sqlite_load.py write FILE JOURNAL_MODE
    python3 tests/lab/sqlite_load.py check FILE

`write` says `commit NUMBER TIME` (seconds of CLOCK_MONOTONIC) of each transaction when its commit has returned, and
`fail NUMBER REASON` of one that did not; `check` prints what the database holds as one JSON object.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sqlite3
import sys
import time

ACCOUNTS, EACH = 100, 1000
BUSY_S = 300.0


def payload(number: int) -> str:
    """What transaction `number` writes: 2 KiB that nobody can guess from another's."""
    return hashlib.sha256(b"transaction %d" % number).hexdigest() * 32


def say(line: str) -> None:
    """One system call a line: none waits in a buffer."""
    os.write(1, f"{line}\n".encode())


def write(path: str, journal_mode: str) -> int:
    """Move money between accounts and note it, a transaction each, until SIGTERM."""
    is_over = False

    def end(*_: object) -> None:
        nonlocal is_over
        is_over = True

    signal.signal(signal.SIGTERM, end)
    database = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
    database.execute(f"PRAGMA journal_mode={journal_mode}")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE IF NOT EXISTS notes (number INTEGER PRIMARY KEY, payload TEXT, amount INTEGER)")
    database.execute("CREATE INDEX IF NOT EXISTS by_payload ON notes (payload)")
    database.execute("CREATE TABLE IF NOT EXISTS accounts (number INTEGER PRIMARY KEY, holds INTEGER)")
    database.executemany("INSERT OR IGNORE INTO accounts VALUES (?, ?)", [(n, EACH) for n in range(ACCOUNTS)])
    number = database.execute("SELECT coalesce(max(number), 0) FROM notes").fetchone()[0]
    failures = 0
    while not is_over:
        number += 1
        source, destination = random.sample(range(ACCOUNTS), 2)
        amount = number % 7
        try:
            database.execute("BEGIN IMMEDIATE")
            database.execute("UPDATE accounts SET holds = holds - ? WHERE number = ?", (amount, source))
            database.execute("INSERT INTO notes VALUES (?, ?, ?)", (number, payload(number), amount))
            database.execute("UPDATE accounts SET holds = holds + ? WHERE number = ?", (amount, destination))
            database.execute("COMMIT")
        except sqlite3.Error as reason:
            failures += 1
            say(f"fail {number} {reason}")
            break
        say(f"commit {number} {time.monotonic():.6f}")
        time.sleep(0.01)
    return 1 if failures else 0


def check(path: str) -> None:
    """Read all of it back."""
    database = sqlite3.connect(path)
    damage: list[str] = []
    numbers: list[int] = []
    wrong: list[int] = []
    try:
        damage += [row[0] for row in database.execute("PRAGMA integrity_check") if row[0] != "ok"]
        for number, text in database.execute("SELECT number, payload FROM notes ORDER BY number"):
            numbers.append(number)
            if text != payload(number):
                wrong.append(number)
        held = database.execute("SELECT sum(holds) FROM accounts").fetchone()[0]
        if held != ACCOUNTS * EACH:
            damage.append(f"the accounts hold {held}, half of a transaction is there")
    except sqlite3.Error as reason:
        damage.append(str(reason))
    print(json.dumps({"damage": damage, "numbers": numbers, "wrong": wrong}))


if __name__ == "__main__":
    if sys.argv[1] == "check":
        check(sys.argv[2])
    else:
        sys.exit(write(sys.argv[2], sys.argv[3]))

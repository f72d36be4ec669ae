"""Writes stamped blocks to a block device and reports each write on its standard output.

Run in the initiator, so that the acknowledgements are recorded outside the nodes under test:

    python -m lab.writer --device /dev/sda --run r1 --interval-ms 10 --blocks 4096
    python -m lab.writer --device /dev/sda --run r1 --blocks 4096 --verify

One line a fact, times in seconds of CLOCK_MONOTONIC:
`issue SEQUENCE LBA TIME`, `ack SEQUENCE LBA TIME`, `fail SEQUENCE LBA TIME ERRNO`, `end TIME`, and
with --verify `holds LBA SEQUENCE`, `blank LBA`, `corrupt LBA`, `unreadable LBA ERRNO`. These four are also said of
each block that is about to be written again: a write that was lost must not be hidden by the next one to its place.
"""

from __future__ import annotations

import argparse
import mmap
import os
import queue
import signal
import sys
import threading
import time

from lab.stamp import BLOCK_BYTES, Stamp, decode, encode

LOOKS_EVERY_S = 0.2  # whether it is to stop


class Writer:
    """Issues writes on a clock, not when the last one came back, so that a stall is not left out.

    Writes go round a region of `blocks` from block `first`. No two to one block are under way at
    a time: which of them stays would be anybody's guess.
    """

    def __init__(self, device: str, run: str, first: int, blocks: int, threads: int, *, after: int = 0) -> None:
        """Open the device for direct, synchronous writes. `after` is the last sequence of the run so far."""
        self.failures = 0
        self._device = os.open(device, os.O_RDWR | os.O_DIRECT | os.O_DSYNC)
        self._run = run
        self._first = first
        self._blocks = blocks
        self._after = after
        self._is_stopping = False
        self._work: queue.SimpleQueue[Stamp | None] = queue.SimpleQueue()
        self._busy: set[int] = set()
        self._free = threading.Condition()
        self._threads = [threading.Thread(target=self._serve) for _ in range(threads)]

    def stop(self) -> None:
        """Issue no more, queued or not; `write` returns when what is under way has ended.

        Called by signal handlers, so that it takes no lock: the thread they interrupt may hold it.
        """
        self._is_stopping = True

    def write(self, interval_s: float, seconds: float | None) -> None:
        """Write until stopped, or for a time."""
        for thread in self._threads:
            thread.start()
        started = time.monotonic()
        sequence = self._after
        while True:
            due = started + (sequence - self._after) * interval_s
            if seconds is not None and due - started >= seconds:
                break
            self._sleep_until(due)
            if self._is_stopping:
                break
            sequence += 1
            lba = self._first + (sequence - 1) % self._blocks
            with self._free:
                while lba in self._busy and not self._is_stopping:
                    self._free.wait(LOOKS_EVERY_S)
                if self._is_stopping:
                    break
                self._busy.add(lba)
            self._work.put(Stamp(self._run, lba, sequence))
        for _ in self._threads:
            self._work.put(None)
        for thread in self._threads:
            thread.join()
        _say(f"end {time.monotonic():.6f}")

    def _sleep_until(self, due: float) -> None:
        while not self._is_stopping and (left := due - time.monotonic()) > 0:
            time.sleep(min(left, LOOKS_EVERY_S))

    def _serve(self) -> None:
        buffer = mmap.mmap(-1, BLOCK_BYTES)  # page-aligned, as O_DIRECT asks
        while stamp := self._work.get():
            if self._is_stopping:
                continue  # after a long stall thousands wait here, and nobody waits for them
            if stamp.sequence > self._blocks:  # it has been round
                _say(_look(self._device, buffer, self._run, stamp.lba))
            buffer[:] = encode(stamp)
            # Said before it is done: a write that nobody answers may still have arrived.
            _say(f"issue {stamp.sequence} {stamp.lba} {time.monotonic():.6f}")
            try:
                done = os.pwrite(self._device, buffer, stamp.lba * BLOCK_BYTES)
                word = "ack" if done == BLOCK_BYTES else "fail"
                tail = "" if done == BLOCK_BYTES else " 0"
            except OSError as reason:
                word, tail = "fail", f" {reason.errno}"
            _say(f"{word} {stamp.sequence} {stamp.lba} {time.monotonic():.6f}{tail}")
            self.failures += word == "fail"
            with self._free:
                self._busy.discard(stamp.lba)
                self._free.notify()


def verify(device: str, run: str, first: int, blocks: int) -> None:
    """Say what each block of the region holds."""
    handle = os.open(device, os.O_RDONLY | os.O_DIRECT)
    buffer = mmap.mmap(-1, BLOCK_BYTES)
    for lba in range(first, first + blocks):
        _say(_look(handle, buffer, run, lba))


def _look(device: int, buffer: mmap.mmap, run: str, lba: int) -> str:
    """What a block holds."""
    try:
        os.preadv(device, [buffer], lba * BLOCK_BYTES)
        stamp = decode(buffer[:])
    except OSError as reason:
        return f"unreadable {lba} {reason.errno}"
    except ValueError:
        return f"corrupt {lba}"
    if stamp is None:
        return f"blank {lba}"
    return f"corrupt {lba}" if stamp.lba != lba or stamp.run != run else f"holds {lba} {stamp.sequence}"


def _say(line: str) -> None:
    # One system call a line: lines of several threads do not mix (pipe(7), PIPE_BUF), and none
    # waits in a buffer for a node to be cut.
    os.write(sys.stdout.fileno(), f"{line}\n".encode())


def main() -> int:
    """Write, or read back; the exit code is 1 if a write failed."""
    parser = argparse.ArgumentParser(prog="lab.writer", description="stamped writes to a block device")
    parser.add_argument("--device", required=True)
    parser.add_argument("--run", required=True, help="up to 16 letters; tells this run's blocks from older ones")
    parser.add_argument("--first", type=int, default=0, help="first block of the region")
    parser.add_argument("--blocks", type=int, default=4096, help="blocks of 4 KiB in the region")
    parser.add_argument("--after", type=int, default=0, help="last sequence that an earlier part of the run issued")
    parser.add_argument("--interval-ms", type=float, default=10.0)
    parser.add_argument("--seconds", type=float, help="default: until SIGTERM")
    parser.add_argument("--threads", type=int, default=32, help="writes under way at most")
    parser.add_argument("--verify", action="store_true", help="read back instead of writing")
    arguments = parser.parse_args()
    if arguments.verify:
        verify(arguments.device, arguments.run, arguments.first, arguments.blocks)
        return 0
    writer = Writer(
        arguments.device,
        arguments.run,
        arguments.first,
        arguments.blocks,
        arguments.threads,
        after=arguments.after,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: writer.stop())
    writer.write(arguments.interval_ms / 1000, arguments.seconds)
    return 1 if writer.failures else 0


if __name__ == "__main__":
    sys.exit(main())

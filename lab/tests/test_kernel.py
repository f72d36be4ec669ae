"""What linux.uml is started with: registers are written by halves, alarms are not the last, frames wake at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lab.kernel import prepare_library

# A parent that traces its child as linux.uml does, with its 2696 bytes of registers. Byte 400 is the first of XMM15.
# The child, in machine code: set all bits of XMM15, stop, and again.
TRACER = """
import ctypes, errno, mmap, os, signal, sys

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long
TRACEME, PEEKDATA, CONT, GET, SET, XSTATE, XMM15 = 0, 2, 7, 0x4204, 0x4205, 0x202, 400
CODE = bytes.fromhex(
    "66450f76ff"          # pcmpeqd xmm15, xmm15
    "b8270000000f0589c7"  # getpid()
    "be13000000"          # SIGSTOP
    "b83e0000000f05"      # kill()
    "ebe4"                # and again
)

class Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]

def transfer(request, registers):
    vector = Vector(ctypes.addressof(registers), len(registers))
    if libc.ptrace(request, child, XSTATE, ctypes.addressof(vector)):
        sys.exit(errno.errorcode[ctypes.get_errno()])

def read():
    registers = ctypes.create_string_buffer(2696)
    transfer(GET, registers)
    return registers

pages = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
pages.write(CODE)
word = ctypes.c_long.from_buffer(pages, 2048)
word.value = -1
child = os.fork()
if child == 0:
    libc.ptrace(TRACEME, 0, None, None)
    ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(pages)))()
os.waitpid(child, 0)
try:
    full = read()
    assert full.raw[XMM15] == 0xFF
    transfer(SET, full)
    empty = ctypes.create_string_buffer(full.raw, 2696)
    empty[XMM15] = 0
    transfer(SET, empty)
    assert read().raw == empty.raw, "a change was left out"
    transfer(SET, full)
    assert read().raw == full.raw, "a change back to an older read was left out"
    transfer(SET, empty)
    read()
    assert libc.ptrace(CONT, child, None, None) == 0
    os.waitpid(child, 0)
    transfer(SET, empty)
    assert read()[XMM15] == bytes([0]), "a write was left out though the process had run since the read"
    ctypes.set_errno(errno.EPERM)
    assert libc.ptrace(PEEKDATA, child, ctypes.addressof(word), None) == -1 and ctypes.get_errno() == 0
finally:
    os.kill(child, signal.SIGKILL)
"""


def trace(**environment: str) -> str:
    """What the tracer complained of."""
    done = subprocess.run(
        [sys.executable, "-S", "-c", TRACER], env=environment, capture_output=True, text=True, timeout=20, check=False
    )
    return done.stderr if done.returncode else ""


def test_registers_are_written(tmp_path: Path) -> None:
    assert trace(LD_PRELOAD=str(prepare_library(tmp_path))) == ""


@pytest.mark.skipif("amx_tile" not in Path("/proc/cpuinfo").read_text(), reason="no processor with AMX")
def test_without_it_the_kernel_refuses() -> None:
    assert trace().strip() == "EFAULT"


# A timer set once to 5 ms, whose alarms nobody answers by setting it anew; how many of them come in 0.18 s.
# Then stopped, and set to come every 20 ms.
ALARMS = """
import ctypes, signal, time

libc = ctypes.CDLL(None)
Times = ctypes.c_long * 4

def count(interval_ns, first_ns):
    alarms.clear()
    assert libc.timer_settime(timer, 0, ctypes.byref(Times(0, interval_ns, 0, first_ns)), None) == 0
    end = time.monotonic() + 0.18
    while (left := end - time.monotonic()) > 0:
        time.sleep(left)
    return len(alarms)

alarms = []
signal.signal(signal.SIGALRM, lambda number, frame: alarms.append(number))
timer = ctypes.c_void_p()
assert libc.timer_create(1, None, ctypes.byref(timer)) == 0
print(count(0, 5_000_000), count(0, 0), count(20_000_000, 20_000_000))
"""


def alarms(**environment: str) -> list[int]:
    """How many there were each time."""
    argv = [sys.executable, "-S", "-c", ALARMS]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=20, check=True)
    return [int(word) for word in done.stdout.split()]


def test_an_alarm_that_is_lost_is_followed_by_another(tmp_path: Path) -> None:
    once, stopped, often = alarms(LD_PRELOAD=str(prepare_library(tmp_path)))
    assert 2 <= once <= 4
    assert stopped == 0
    assert often >= 5


def test_without_it_the_first_alarm_is_the_last() -> None:
    once, stopped, _ = alarms()
    assert (once, stopped) == (1, 0)


def test_it_is_compiled_once(tmp_path: Path) -> None:
    first = prepare_library(tmp_path)
    made_at = first.stat().st_mtime_ns
    assert prepare_library(tmp_path) == first
    assert first.stat().st_mtime_ns == made_at


# What is written to a pipe is a frame. Prints: signals that asked to look again after each of three looks that found
# nothing; signals that told of a frame that came while the node slept, and whether at once; how many were found by a
# look that ended just before there was one; how many devices were told of by one look, of two that had a frame; the
# signal that stopped a process which ran on while a frame came: SIGALRM, or SIGSTOP if nobody stopped it for that.
FRAMES = """
import ctypes, os, select, signal, sys, threading, time

libc = ctypes.CDLL(None)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long
TRACEME, CONT, WALL = 0, 7, 0x40000000

def look(timeout_ms):
    return libc.epoll_wait(devices.fileno(), events, 8, timeout_ms)

def later(seconds, action):
    threading.Timer(seconds, action).start()

events = ctypes.create_string_buffer(256)
devices = select.epoll()
reader, writer = os.pipe()
devices.register(reader, select.EPOLLIN | select.EPOLLET)

told = []
signal.signal(signal.SIGIO, lambda number, frame: told.append(number))
signal.signal(signal.SIGALRM, lambda number, frame: None)
again = []
for _ in range(3):
    told.clear()
    look(0)
    time.sleep(0.02)
    again.append(len(told))
told.clear()
nothing = ctypes.create_string_buffer(128)
signal.setitimer(signal.ITIMER_REAL, 0.4)
later(0.05, lambda: os.write(writer, b"1"))
start = time.monotonic()
libc.sigsuspend(nothing)
slept = time.monotonic() - start
sleeper = [len(told), slept < 0.2]
time.sleep(max(0, 0.45 - slept))
look(0)

later(0.08, lambda: os.write(writer, b"2"))
found = look(50)
look(100)

other_reader, other_writer = os.pipe()
devices.register(other_reader, select.EPOLLIN | select.EPOLLET)
os.write(writer, b"2")
os.write(other_writer, b"2")
at_once = look(0)
while look(0):
    pass

child = os.fork()
if child == 0:
    libc.ptrace(TRACEME, 0, None, None)
    os.kill(os.getpid(), signal.SIGSTOP)
    while True:
        pass
os.waitpid(child, 0)
try:
    status = ctypes.c_int()
    libc.ptrace(CONT, child, None, None)
    os.write(writer, b"3")
    later(0.05, lambda: look(0))
    later(0.3, lambda: os.kill(child, signal.SIGSTOP))
    libc.waitpid(child, ctypes.byref(status), WALL)
    by = signal.Signals(os.WSTOPSIG(status.value)).name
finally:
    os.kill(child, signal.SIGKILL)
print(*again, *sleeper, found, at_once, by)
"""


def frames(**environment: str) -> list[str]:
    """What became of them."""
    argv = [sys.executable, "-S", "-c", FRAMES]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=20, check=True)
    return done.stdout.split()


def test_what_a_frame_wakes_runs_at_once(tmp_path: Path) -> None:
    assert frames(LD_PRELOAD=str(prepare_library(tmp_path))) == ["1", "1", "0", "1", "True", "1", "1", "SIGALRM"]


def test_without_it_a_frame_waits() -> None:
    assert frames() == ["0", "0", "0", "0", "False", "0", "2", "SIGSTOP"]

"""Inputs to begin with, in the language of input.h: together they bring the agent to each of its answers."""

from __future__ import annotations

from pathlib import Path

START, SCRIPT, STDIN, CANCEL, PING = range(1, 6)
PRINT, COMPLAIN, CLOSE_OUT, CLOSE_ERR, EXIT, TAKE, CLOSE_IN, LITTER = range(8)
INTERRUPTED, SERVER_GONE, SERVER_ENDS, SCRIPT_FULL, NO_SCRIPT, NO_SPAWN, POLL_FAILS = range(7)
ALL = 255  # what is ready in a turn
NO_OUTPUT = ALL - 4


def raw(data: bytes) -> bytes:
    """At most 255 bytes as they are."""
    return bytes([0, len(data)]) + data


def frame(kind: int, run: int, payload: bytes = b"") -> bytes:
    """A frame with at most 255 bytes in it."""
    return bytes([1, kind, run, len(payload)]) + payload


def filled(kind: int, run: int, size: int, times: int = 1) -> bytes:
    """A frame, so many times.  @param size: of its payload; below 1024 only its lowest 8 bits count."""
    return bytes([2, kind, run, size >> 10, size & 255, times - 1])


def start(
    run: int = 1, uid: int = 7, time: int = 20, kept: int = 16, most: int = 20, script: int = 1,
    args: tuple[bytes | None, ...] = (), env: tuple[bytes | None, ...] = (), more: int = 0,
) -> bytes:  # fmt: skip
    """A START.  @param time, kept, most: powers of two.  @param args, env: None for a long one.

    @param more: bytes too many at the end, or too few when it is below 0.
    """
    fixed = [3, run, uid, time, kept, most, script >> 10, script & 255, len(args) * 16 + len(env), more & 255]
    texts = (b"\xff" if text is None else bytes([len(text)]) + text for text in (*args, *env))
    return bytes(fixed) + b"".join(texts)


def turn(mask: int = ALL, chunk: int = 0) -> bytes:
    """The agent's loop turns once.  @param chunk: bytes of each read and write, 0 all."""
    return bytes([4, mask, chunk])


def deed(what: int, amount: int = 0) -> bytes:
    """The script does something."""
    return bytes([5, what, amount])


def passes(exponent: int) -> bytes:
    """Time passes, two to the power of `exponent` nanoseconds."""
    return bytes([6, exponent])


def trouble(what: int) -> bytes:
    """The kernel or the server fails."""
    return bytes([7, what])


BEGUN = start() + frame(SCRIPT, 1, b"x") + turn()
TALKS = start(kept=20, most=22) + frame(SCRIPT, 1, b"x") + turn()
LONG_START = start(args=(None, b"a"), env=(None,))

SEEDS = {
    "ping": frame(PING, 0) + turn(chunk=3) * 9,
    "ping-of-a-run": frame(PING, 1),
    "pings-unheard": turn(NO_OUTPUT) + (filled(PING, 0, 0, 256) + turn(NO_OUTPUT)) * 40,
    "no-frame": raw(b"\x09" + bytes(15)),
    "no-zeros": raw(b"\x05\0\0\1" + bytes(12)),
    "too-long": raw(b"\x02\0\0\0\0\1\0\1" + bytes(8)),
    "start-too-long": raw(b"\x01\0\0\0\0\x20\0\1" + bytes(8)),
    "start": start(script=3, args=(b"one", b""), env=(b"A=b",)) + turn(chunk=7) * 20,
    "start-twice": start() * 2,
    "start-of-no-run": start(run=0),
    "start-short": filled(START, 1, 43),
    "start-for-root": start(uid=0),
    "start-for-nobody": start(uid=255),
    "start-for-ever": start(time=60),
    "start-many-args": frame(START, 1, b"\0\0\0\7" + bytes(31) + b"\1\0\2\0\1\0\0\0\0" + bytes(9)),
    "start-empty": start(script=0),
    "start-with-a-zero": start(args=(b"a\0b",)),
    "start-and-more": start(args=(b"a",), more=5),
    "start-and-less": start(args=(b"abcdef",), env=(b"A=b",), more=-5),
    "start-long": LONG_START + frame(SCRIPT, 1, b"x") + turn(chunk=255) * 3,
    "scripts": (start(script=70) + filled(SCRIPT, 1, 70) + turn() + deed(EXIT) + turn() * 3) * 3,
    "script-unannounced": frame(SCRIPT, 1, b"x"),
    "script-too-long": start() + frame(SCRIPT, 1, b"xy"),
    "script-of-another": start() + frame(SCRIPT, 2, b"x"),
    "script-in-parts": start(script=4) + frame(SCRIPT, 1, b"xy") + turn() + frame(SCRIPT, 1, b"zz") + turn(),
    "script-no-space": trouble(SCRIPT_FULL) + BEGUN,
    "script-no-file": trouble(NO_SCRIPT) + BEGUN,
    "script-no-process": trouble(NO_SPAWN) + BEGUN,
    "stdin": BEGUN + filled(STDIN, 1, 65536, 2) + turn() * 4 + (deed(TAKE, 250) + turn()) * 3 + deed(EXIT) + turn(),
    "stdin-ends": BEGUN + frame(STDIN, 1, b"in") + frame(STDIN, 1) + turn() + deed(TAKE, 2) + turn() * 2,
    "stdin-goes-round": BEGUN + (filled(STDIN, 1, 40000) + deed(TAKE, 200) + turn()) * 9,
    "stdin-closed": BEGUN + filled(STDIN, 1, 4096) + turn() + deed(CLOSE_IN) + turn() + frame(STDIN, 1, b"x") + turn(),
    "stdin-beyond-credit": BEGUN + filled(STDIN, 1, 65536, 3) + turn() * 4,
    "stdin-beyond-end": BEGUN + frame(STDIN, 1) * 2,
    "stdin-of-no-run": frame(STDIN, 0, b"x"),
    "stdin-before-script": start() + frame(STDIN, 1, b"x"),
    "stdin-too-late": BEGUN + deed(EXIT) + turn() * 3 + frame(STDIN, 1, b"x") + frame(CANCEL, 1) + turn(),
    "cancel": BEGUN + deed(PRINT, 9) + turn() + frame(CANCEL, 1) + turn() * 3,
    "cancel-with-payload": BEGUN + frame(CANCEL, 1, b"x"),
    "cancel-before-script": start() + frame(CANCEL, 1),
    "output": BEGUN + (deed(PRINT, 255) + deed(COMPLAIN, 250) + turn(chunk=200)) * 3 + turn() * 3,
    "output-beyond-limit": start(kept=8, most=10) + frame(SCRIPT, 1, b"x") + turn() + deed(PRINT, 90) + turn() * 3,
    "output-unheard": TALKS + (deed(PRINT, 255) + deed(COMPLAIN, 255) + turn(NO_OUTPUT)) * 5 + turn() * 9,
    "output-lingers": BEGUN + deed(PRINT, 3) + deed(EXIT) + turn(2) + turn(2) + deed(PRINT, 3) + passes(30) + turn(2),
    "streams-closed": BEGUN + deed(CLOSE_OUT) + deed(CLOSE_ERR) + turn() * 2 + passes(40) + turn(),
    "time-limit": BEGUN + passes(44) + turn() * 2,
    "dirty": BEGUN + deed(LITTER) + deed(EXIT) + turn() * 3,
    "no-exec": BEGUN + deed(EXIT, 1) + turn() * 3,
    "silence": turn() + passes(44) + turn(),
    "server-ends": BEGUN + trouble(SERVER_ENDS) + turn(),
    "server-gone": trouble(SERVER_GONE) + frame(PING, 0) + turn(),
    "interrupted": trouble(INTERRUPTED) + trouble(POLL_FAILS) + turn() + BEGUN,
    "poll-fails": trouble(POLL_FAILS) + turn(),
}  # fmt: skip


def write(folder: Path) -> None:
    """A file for each; and each that has to do with a START again for each of the allocations that it needs."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, instructions in SEEDS.items():
        (folder / name).write_bytes(b"\0" + instructions)
    for failing in range(1, 5):
        (folder / f"no-memory-{failing}").write_bytes(bytes([failing]) + LONG_START)

"""What the clients of a soak do, and what must come back."""

from __future__ import annotations

import hashlib
import json
import random
import socket
from collections.abc import Callable

from tests.engine.server_process import Answer, ServerProcess

OTHER_IMAGE = "script-executor-test:noshell"  # on the engine, without a pool
NO_IMAGE = "127.0.0.1:1/no-such-image:1"  # whose registry refuses at once
RIGHT = "right"
USUAL = 5.0  # seconds, the limit of a run
LONGEST = 30.0  # of one that fills all memory, however busy the machine is
HEAD = b"POST /execute HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
NONSENSE = [(b"{", "application/json"), (b"{}", "application/json"), (b"x", "text/plain")]


class Wrong(Exception):
    """An answer that is not the truth, or none."""


class Client:
    """One client with its own numbers."""

    def __init__(self, server: ServerProcess, seed: int) -> None:
        self._server = server
        self._random = random.Random(seed)
        self._count = 0
        self._seed = seed

    def ask(self) -> tuple[str, str]:
        """Do one thing: what it was, and what came of it: "right" or the code of an honest refusal."""
        (kind,) = self._random.choices([*KINDS], [weight for weight, _ in KINDS.values()])
        self._count += 1
        return kind, KINDS[kind][1](self)

    def _run(self, script: str, status: str, judge: Callable[[Answer], bool], **fields: object) -> str:
        """Run a script that is to end with this status."""
        answer = self._server.execute(script, **{"timeout": USUAL} | fields)
        if answer.status == 503 and "Retry-After" in answer.headers:
            return str(answer["code"])
        if answer.status == 200 and answer["status"] == status and judge(answer):
            return RIGHT
        raise Wrong(f"{script[:60]!r} {fields if len(str(fields)) < 100 else ''}: {answer}")

    def nothing(self) -> str:
        """Print a number that nobody else has."""
        nonce = f"{self._seed}-{self._count}"
        tenant = self._random.choice(["", "", "", "a"])
        return self._run("echo $1", "ok", lambda a: a["stdout"] == f"{nonce}\n", args=[nonce], tenant=tenant)

    def compute(self) -> str:
        """Use some processor time."""
        script = "i=0; while [ $i -lt 20000 ]; do i=$((i + 1)); done; echo $i"
        return self._run(script, "ok", lambda a: a["stdout"] == "20000\n")

    def pass_through(self) -> str:
        """Send much, and look at its digest."""
        text = f"{self._random.random()}\n" * 5000
        digest = hashlib.sha256(text.encode()).hexdigest()
        return self._run("sha256sum", "ok", lambda a: a["stdout"].startswith(digest), stdin=text)

    def print_much(self) -> str:
        """Get much."""
        return self._run("seq 50000", "ok", lambda a: a["stdout"].endswith("\n50000\n") and a["stdout_bytes"] == 288894)

    def leave_things(self) -> str:
        """Leave a child and files, and look whether somebody else did."""
        script = "ls -A /tmp /dev/shm | grep -c x; touch /tmp/x /dev/shm/x; sleep 100 & exit 0"
        return self._run(script, "ok", lambda a: a["stdout"] == "0\n")

    def sleep_too_long(self) -> str:
        return self._run("sleep 5", "timeout", lambda a: a["signal"] == "SIGKILL", timeout=0.3)

    def take_all_memory(self) -> str:
        return self._run("tail /dev/zero", "out_of_memory", lambda a: True, timeout=LONGEST)

    def print_without_end(self) -> str:
        return self._run("yes", "output_limit", lambda a: a["stdout_truncated"])

    def fail(self) -> str:
        return self._run(
            "echo bad >&2; exit 7", "nonzero_exit", lambda a: (a["exit_code"], a["stderr"]) == (7, "bad\n")
        )

    def use_another_image(self) -> str:
        return self._run("#!/bin/busybox sh\necho other", "ok", lambda a: a["stdout"] == "other\n", image=OTHER_IMAGE)

    def name_no_image(self) -> str:
        """Neither the engine nor its registry has it."""
        answer = self._server.execute("echo hi", image=NO_IMAGE)
        if answer.status in (422, 503):
            return RIGHT if answer["code"] in ("image_not_found", "image_unavailable") else str(answer["code"])
        raise Wrong(f"no image: {answer}")

    def hang_up(self) -> str:
        """Go away in the middle."""
        body = json.dumps({"script": "sleep 20"}).encode()
        with socket.create_connection(("127.0.0.1", self._server.port), timeout=30) as client:
            client.sendall((HEAD % len(body) + body)[: self._random.randrange(200)])
        return RIGHT

    def send_nonsense(self) -> str:
        body, kind = self._random.choice(
            [(b"{", "application/json"), (b"{}", "application/json"), (b"x", "text/plain")]
        )
        answer = self._server.request("POST", "/execute", body, {"Content-Type": kind})
        if answer.status in (400, 415):
            return RIGHT
        if answer.status == 503:
            return str(answer["code"])
        raise Wrong(f"nonsense: {answer}")

    def look(self) -> str:
        """Health and figures are always there."""
        if self._server.get("/health/live").status != 200 or self._server.get("/metrics").status != 200:
            raise Wrong("no figures")
        return RIGHT


# How often, and what.
KINDS: dict[str, tuple[int, Callable[[Client], str]]] = {
    "nothing": (300, Client.nothing),
    "compute": (20, Client.compute),
    "pass-through": (20, Client.pass_through),
    "print-much": (20, Client.print_much),
    "leave-things": (20, Client.leave_things),
    "fail": (20, Client.fail),
    "look": (20, Client.look),
    "nonsense": (20, Client.send_nonsense),
    "hang-up": (10, Client.hang_up),
    "too-long": (4, Client.sleep_too_long),
    "memory": (2, Client.take_all_memory),
    "without-end": (4, Client.print_without_end),
    "another-image": (4, Client.use_another_image),
    "no-image": (1, Client.name_no_image),
}

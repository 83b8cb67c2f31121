"""Clients that keep asking, and look at each answer."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass
from types import TracebackType

from tests.engine.server_process import Answer, ServerProcess

PAUSE = 0.02  # seconds after a refusal


@dataclass(frozen=True)
class Told:
    """One answer.  @ivar at: when it came.  @ivar took: seconds."""

    code: str
    at: float
    took: float


class Load:
    """So many clients, each of which runs a script with a number of its own until the end of the block."""

    def __init__(self, server: ServerProcess, clients: int = 4) -> None:
        self._server = server
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(clients)]
        self.told: list[Told] = []
        self.wrong: list[str] = []

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(120)
        assert not any(thread.is_alive() for thread in self._threads), "a client has no answer"

    def codes(self, since: float = 0.0) -> Counter[str]:
        """How many answers of each kind came since then."""
        return Counter(told.code for told in self.told if told.at >= since)

    def _ask(self, client: int) -> None:
        number = 0
        while not self._over.is_set():
            number += 1
            nonce = f"{client}-{number}"
            began = time.monotonic()
            try:
                code = self._judged(self._server.execute("sleep 0.05; echo $1", args=[nonce]), nonce)
            except OSError as error:
                code = f"no answer: {error}"
                self.wrong.append(code)
            now = time.monotonic()
            self.told.append(Told(code, now, now - began))
            if code != "ok":
                time.sleep(PAUSE)

    def _judged(self, answer: Answer, nonce: str) -> str:
        """ "ok", or the code of an honest refusal."""
        if answer.status == 200 and answer["stdout"] == f"{nonce}\n":
            return "ok"
        if answer.status == 503 and "Retry-After" in answer.headers:
            return str(answer["code"])
        self.wrong.append(repr(answer))
        return "wrong"

"""Debian's Prometheus as a process with a configuration of ours, and its HTTP API."""

from __future__ import annotations

import json
import math
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.deployment.observability import FILES
from tests.engine.server_process import free_port, wait_until

KEY_LINES = ("    # authorization:", "    #   credentials_file: ")


def configuration(name: str, target: str, key: Path | None = None) -> dict[str, Any]:
    """The file of that name as it is shipped, but asking this one address, each second.

    @param key: a file with the secret of an API key, for the lines that are comments in the file.
    """
    text = (FILES / name).read_text()
    if key is not None:
        head, path = KEY_LINES
        assert text.count(head) == text.count(path) == 1
        text = text.replace(head, head.replace("# ", "")).replace(path, path.replace("# ", ""))
    found: dict[str, Any] = YAML(typ="safe").load(text)
    found["global"] = dict.fromkeys(found["global"], "1s")
    found["rule_files"] = [str(FILES / rules) for rules in found["rule_files"]]
    (job,) = found["scrape_configs"]
    del job["dns_sd_configs"]
    job["static_configs"] = [{"targets": [target]}]
    if key is not None:
        job["authorization"]["credentials_file"] = str(key)
    return found


class Prometheus:
    """A Prometheus that listens on a free port of loopback."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        """@param folder: an empty one, for all that it writes."""
        self._port = free_port()
        self._log = folder / "log"
        path = folder / "prometheus.yml"
        YAML(typ="safe").dump(settings, path)
        command = [
            "prometheus", f"--config.file={path}", f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self._port}",
        ]  # fmt: skip
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until(self._ready, "Prometheus")

    def _ready(self) -> bool:
        assert self.process.poll() is None, self._log.read_text()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def ask(self, path: str, **parameters: str | Sequence[str]) -> Any:
        """What the API has at this path; fails with its sentence when it refuses."""
        url = f"http://127.0.0.1:{self._port}/api/v1/{path}?{urllib.parse.urlencode(parameters, doseq=True)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error

    def numbers(self, expression: str) -> list[float]:
        """The values that a query has now, without those that are no number."""
        values = [float(sample["value"][1]) for sample in self.ask("query", query=expression)["result"]]
        return [value for value in values if not math.isnan(value)]

    def scraped(self) -> dict[str, tuple[str, str]]:
        """The state and the error of each job's one target, once all were asked."""

        def asked() -> Any:
            targets = self.ask("targets")["activeTargets"]  # none for the first seconds
            states = {one["labels"]["job"]: (one["health"], one["lastError"]) for one in targets}
            return states if "unknown" not in {health for health, _ in states.values()} else None

        found: dict[str, tuple[str, str]] = wait_until(asked, "a first scrape")
        return found

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(30)

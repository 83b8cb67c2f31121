"""A real rsyslogd of a test's own: on a socket in a folder and on loopback, writing what it understood as JSON."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

from tests.engine.server_process import free_port, wait_until

_CONFIGURATION = """
global(workDirectory="{folder}")
module(load="imuxsock" SysSock.Use="off")
input(type="imuxsock" Socket="{folder}/log" UseSpecialParser="off" ParseHostname="on" UseSysTimeStamp="off"
      IgnoreTimestamp="off")
module(load="imudp")
input(type="imudp" address="127.0.0.1" port="{port}")
module(load="imptcp")
input(type="imptcp" address="127.0.0.1" port="{port}")
template(name="json" type="list" option.jsonf="on") {{
  property(outname="input" name="inputname" format="jsonf")
  property(outname="priority" name="pri" format="jsonf")
  property(outname="time" name="timestamp" dateFormat="rfc3339" format="jsonf")
  property(outname="app" name="app-name" format="jsonf")
  property(outname="process" name="procid" format="jsonf")
  property(outname="event" name="msgid" format="jsonf")
  property(outname="fields" name="structured-data" format="jsonf")
  property(outname="message" name="msg" format="jsonf")
}}
action(type="omfile" file="{folder}/out" template="json")
"""


class Rsyslog:
    """rsyslogd in the foreground; it can be ended and started again."""

    def __init__(self, folder: Path) -> None:
        """@param folder: empty, with a short name: the path of a socket is short."""
        self.folder = folder
        self.port = free_port()
        (folder / "configuration").write_text(_CONFIGURATION.format(folder=folder, port=self.port))
        self.targets = {
            "unixgram": f"unixgram:{folder}/log",
            "udp": f"udp:localhost:{self.port}",
            "tcp": f"tcp:localhost:{self.port}",
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Rsyslog:
        """Start it and wait until it listens."""
        (self.folder / "log").unlink(missing_ok=True)
        command = ["rsyslogd", "-n", "-f", self.folder / "configuration", "-i", self.folder / "pid"]
        with (self.folder / "said").open("ab") as said:
            self.process = subprocess.Popen(command, stdout=said, stderr=said)
        wait_until(self._listening, "rsyslogd listens")
        return self

    def _listening(self) -> bool:
        """Its sockets of all three kinds; TCP last, as it binds them in the order of its configuration."""
        wanted = f"0100007F:{self.port:04X}"
        networks = all(wanted in Path(f"/proc/net/{kind}").read_text() for kind in ("udp", "tcp"))
        return networks and (self.folder / "log").exists()

    def send(self, number: int) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self) -> None:
        """End it, if it runs."""
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            process.wait(30)

    def events(self, name: str = "") -> list[dict[str, Any]]:
        """What it has written: all, or what has this name."""
        path = self.folder / "out"
        lines = path.read_text().splitlines() if path.exists() else []
        found = [json.loads(line) for line in lines if line.endswith("}")]
        return [one for one in found if not name or one["event"] == name]

    def wait_for(self, name: str, seconds: float = 30.0) -> dict[str, Any]:
        """The first event of this name."""
        found: list[dict[str, Any]] = wait_until(lambda: self.events(name), f"the event {name}", seconds)
        return found[0]

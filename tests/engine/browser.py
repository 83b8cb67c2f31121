"""Chromium, driven by WebDriver: a few requests of plain HTTP."""

from __future__ import annotations

import base64
import http.client
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.engine.server_process import free_port, wait_until

OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
CONTROL, ENTER, TAB = "\ue009", "\ue007", "\ue004"


class Browser:
    """One window of a browser of its own."""

    def __init__(self, profile: Path) -> None:
        """@param profile: an empty folder."""
        self._port = free_port()
        self._driver = subprocess.Popen(
            ["chromedriver", f"--port={self._port}"],
            env={"HOME": str(profile), "PATH": "/usr/bin:/bin"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": [*OPTIONS, f"--user-data-dir={profile}/data"]},
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        try:
            wait_until(self._listens, "chromedriver listens", 20)
            answer = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        except BaseException:
            self._driver.kill()
            self._driver.wait()
            raise
        self._session = f"/session/{answer['sessionId']}"

    def _listens(self) -> bool:
        try:
            return bool(self._ask("GET", "/status")["ready"])
        except ConnectionError:
            return False

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        try:
            connection.request(method, path, None if body is None else json.dumps(body).encode())
            answer = connection.getresponse()
            value = json.loads(answer.read())["value"]
        finally:
            connection.close()
        assert answer.status == 200, value
        return value

    def command(self, name: str, **body: Any) -> Any:
        """POST a command of WebDriver's."""
        return self._ask("POST", f"{self._session}/{name}", body)

    def developer(self, name: str, **parameters: Any) -> Any:
        """A command of the DevTools protocol."""
        return self.command("goog/cdp/execute", cmd=name, params=parameters)

    def size(self, width: int, height: int) -> None:
        """Of what is seen of the page, in its pixels."""
        self.developer(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )

    def prefers(self, **features: str) -> None:
        """What the user has chosen: color_scheme, reduced_motion."""
        wanted = [{"name": f"prefers-{name.replace('_', '-')}", "value": value} for name, value in features.items()]
        self.developer("Emulation.setEmulatedMedia", features=wanted)

    def open(self, url: str) -> None:
        """Go there, and wait until it is loaded."""
        self.command("url", url=url)

    def script(self, text: str, *arguments: object) -> Any:
        """What this body of a function returns in the page."""
        return self.command("execute/sync", script=text, args=arguments)

    def text(self, selector: str) -> str:
        """What is to be read there, "" where it is hidden or not there."""
        look = (
            "const found = document.querySelector(arguments[0]); return found?.checkVisibility() ? found.innerText : ''"
        )
        found: str = self.script(look, selector)
        return found.strip()

    def shown(self, selector: str) -> bool:
        """Whether it is there and not hidden."""
        return bool(
            self.script("const found = document.querySelector(arguments[0]); return found?.checkVisibility()", selector)
        )

    def wait(self, selector: str, text: str, seconds: float = 15.0) -> str:
        """Until this is to be read there; all that is."""
        wait_until(lambda: text in self.text(selector), f"{text!r} in {selector}", seconds)
        return self.text(selector)

    def type(self, text: str) -> None:
        """Press these keys, wherever the focus is."""
        self.press(*text)

    def press(self, *keys: str) -> None:
        """One key after another; f"{CONTROL}+x" is both at once."""
        actions = []
        for key in keys:
            together = key.split("+") if len(key) > 1 else [key]
            actions += [{"type": "keyDown", "value": one} for one in together]
            actions += [{"type": "keyUp", "value": one} for one in reversed(together)]
        self.command("actions", actions=[{"type": "key", "id": "keyboard", "actions": actions}])

    def complaints(self) -> list[str]:
        """What has been written to the console since it was asked for last, but for requests that failed."""
        return [entry["message"] for entry in self.command("se/log", type="browser") if entry["source"] != "network"]

    def screenshot(self, path: Path) -> None:
        """All of the page as a PNG."""
        picture = self.developer("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(picture["data"]))

    def close(self) -> None:
        """End it."""
        try:
            self._ask("DELETE", self._session)
        finally:
            self._driver.terminate()
            self._driver.wait(20)

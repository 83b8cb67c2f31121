"""The status page in a real browser, before a real server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.engine.browser import CONTROL, ENTER, TAB, Browser
from tests.engine.server_process import BUSYBOX, ServerProcess, wait_until

pytestmark = pytest.mark.long
SECRET = "alices-secret-ä-0001"
# Of each text that is seen: its contrast to what is behind it, and the text; those below 4.5.
CONTRASTS = """
const canvas = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
const over = (colors) => {
  canvas.clearRect(0, 0, 1, 1);
  for (const color of colors) { canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1); }
  return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
};
const light = (rgb) => {
  const [r, g, b] = rgb.map((c) => c / 255).map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const found = [];
for (const element of document.querySelectorAll("body *")) {
  const text = [...element.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data.trim()).join("");
  if (!text || !element.checkVisibility()) continue;
  const behind = [];
  for (let at = element; at; at = at.parentElement) behind.unshift(getComputedStyle(at).backgroundColor);
  const both = [over(behind), over([...behind, getComputedStyle(element).color])].map((rgb) => light(rgb) + 0.05);
  found.push([Math.max(...both) / Math.min(...both), text]);
}
if (found.length < 30) throw new Error("There is hardly any text.");
return found.filter(([contrast]) => contrast < 4.5);
"""


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    """A new one; whatever the page complains about fails the test."""
    running = Browser(tmp_path)
    try:
        yield running
        assert running.complaints() == []
    finally:
        running.close()


@pytest.fixture
def page(browser: Browser) -> Callable[[ServerProcess], Browser]:
    """Opens the page of a server."""

    def opened(server: ServerProcess) -> Browser:
        browser.open(f"http://127.0.0.1:{server.port}/")
        return browser

    return opened


@contextmanager
def load(server: ServerProcess) -> Iterator[None]:
    """Scripts that run meanwhile, one in three of which fails."""
    over = threading.Event()

    def run() -> None:
        number = 0
        while not over.wait(0.05):
            number += 1
            server.execute(f"sleep 0.05; exit {int(number % 3 == 0)}")

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def number(text: str) -> int:
    """The one that a text begins with."""
    return int(text.split()[0].replace(",", ""))


def test_figures_move(server: ServerProcess, page: Callable[[ServerProcess], Browser]) -> None:
    """While scripts run the page counts them, draws them, and shows which containers are busy."""
    browser = page(server)
    browser.wait("#verdict", "Healthy")
    assert "Healthy" in browser.script("return document.title")
    assert BUSYBOX in browser.wait("#pools", "2 idle · 0 busy")
    before = number(browser.text("#runs-note"))
    line = browser.script("return document.querySelector('#runs-line path').getAttribute('d')")
    with load(server):
        wait_until(lambda: number(browser.text("#runs-note")) > before + 10, "runs are counted", 20)
        wait_until(lambda: browser.script("return document.querySelectorAll('#pools .busy').length"), "a busy one", 10)
        wait_until(lambda: "failed" in browser.text("#failures-note"), "failures are counted", 10)
        wait_until(lambda: browser.text("#time").endswith("ms"), "their time is told", 10)
        wait_until(lambda: browser.text("#queue") != "0 running", "some are under way", 10)
    assert browser.script("return document.querySelector('#runs-line path').getAttribute('d')") != line
    assert browser.script("return document.querySelectorAll('#time-line path').length") == 2
    browser.wait("#pools", "2 idle · 0 busy")


def test_recent(server: ServerProcess, page: Callable[[ServerProcess], Browser]) -> None:
    """A run appears as the first row, without its script or output, and a row that is there stays the same element."""
    browser = page(server)
    headers = {"Content-Type": "application/json", "X-Request-ID": "the-first-one"}
    server.request("POST", "/execute", b'{"script": "echo hidden-output; exit 7"}', headers)
    browser.wait("#rows tr", "the-first-one")
    assert "7" in browser.text("#rows tr td:nth-child(4)")
    browser.script("window.kept = document.querySelector('#rows tr')")
    for _ in range(60):
        server.output("echo hidden-output")
        if browser.script("return document.querySelectorAll('#rows tr').length") > 3:
            assert "the-first-one" in browser.script("return window.kept.innerText")
    wait_until(lambda: browser.script("return document.querySelectorAll('#rows tr').length") == 50, "fifty rows", 5)
    assert "hidden-output" not in browser.script("return document.documentElement.innerHTML")
    assert not browser.shown("#box")


def test_box(start: Callable[..., ServerProcess], page: Callable[[ServerProcess], Browser]) -> None:
    """With nothing but the keyboard a script is written and run, and what it prints is shown as the text that it is."""
    browser = page(start(CONSOLE="1").ready())
    browser.wait("#image", BUSYBOX)
    for _ in range(5):
        browser.press(TAB)
        if browser.script("return document.activeElement.id") == "script":
            break
    browser.type('read line; echo "<b>$line</b>"; echo trouble >&2; exit 3')
    browser.press(TAB, ENTER, TAB)
    assert browser.script("return document.activeElement.id") == "stdin"
    browser.type("from stdin")
    browser.press(f"{CONTROL}+{ENTER}")
    told = browser.wait("#outcome", "exit 3")
    assert "failed" in told
    assert "warm" in told
    assert browser.text("pre#stdout") == "<b>from stdin</b>"
    assert browser.text("pre#stderr") == "trouble"
    browser.wait("#rows tr", "failed")


def test_box_stops(start: Callable[..., ServerProcess], page: Callable[[ServerProcess], Browser]) -> None:
    """The button that ran a script stops it; the next one runs; an image may be named; a refusal is told."""
    server = start(CONSOLE="1").ready()
    browser = page(server)
    browser.wait("#image", "another")
    browser.script("document.getElementById('script').focus()")
    browser.type("sleep 20")
    browser.press(f"{CONTROL}+{ENTER}")
    browser.wait("#run", "Stop")
    browser.wait("#queue", "1 running")
    browser.script("document.getElementById('script').value = ''; document.getElementById('run').click()")
    browser.wait("#outcome", "Stopped.")
    browser.wait("#queue", "0 running")
    browser.script("document.getElementById('script').value = 'echo again'; document.getElementById('run').click()")
    browser.wait("pre#stdout", "again")
    assert not browser.shown("pre#stderr")
    browser.script("document.getElementById('script').value = 'true'; document.getElementById('run').click()")
    browser.wait("#outcome", "no output")
    assert not browser.shown("pre#stdout")
    browser.script(
        "const image = document.getElementById('image'); image.selectedIndex = image.options.length - 1;"
        "image.dispatchEvent(new Event('change'))"
    )
    assert browser.script("return document.activeElement.id") == "other"
    browser.type("Not An Image")
    browser.press(f"{CONTROL}+{ENTER}")
    browser.wait("#outcome", "refused")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours(scheme: str, start: Callable[..., ServerProcess], page: Callable[[ServerProcess], Browser]) -> None:
    """The page follows the colours that the user prefers, and all of its text can be read in both."""
    server = start(CONSOLE="1").ready()
    for script in ("true", "false", "kill -9 $$"):
        server.execute(script)
    browser = page(server)
    browser.prefers(color_scheme=scheme)
    browser.wait("#rows", "killed")
    bright = browser.script("return getComputedStyle(document.body).backgroundColor.match(/\\d+/g)[0] > 127")
    assert bright == (scheme == "light")
    wait_until(lambda: browser.script(CONTRASTS) == [], "all can be read", 5)


def test_phone(start: Callable[..., ServerProcess], page: Callable[[ServerProcess], Browser]) -> None:
    """At 360 pixels nothing is to be scrolled sideways, and what is tapped is large enough."""
    server = start(
        CONSOLE="1", CUSTOM_POOLS="registry.example.com:5000/team/with-a-long-name/of-an-image-without-end=1"
    )
    wait_until(lambda: server.listening() and server.execute("true").status == 200, "the first run")
    name = "a-very-long-request-id-0123456789-0123456789-0123456789-01234567"
    server.request(
        "POST", "/execute", b'{"script": "false"}', {"Content-Type": "application/json", "X-Request-ID": name}
    )
    browser = page(server)
    browser.size(360, 740)
    browser.wait("#rows", "a-very-long")
    browser.wait("#pools", "with-a-long-name")
    assert browser.script("return [innerWidth, document.documentElement.scrollWidth]") == [360, 360]
    assert browser.script("return Math.min(...[...document.querySelectorAll('button, select')].filter("
                          "(one) => one.checkVisibility()).map((one) => one.offsetHeight))") >= 36  # fmt: skip


def test_no_motion(server: ServerProcess, page: Callable[[ServerProcess], Browser]) -> None:
    """Something breathes, but not for who wants no motion."""
    browser = page(server)
    browser.wait("#verdict", "Healthy")
    assert browser.script("return document.getAnimations().length") > 0
    browser.prefers(reduced_motion="reduce")
    assert browser.script("return document.getAnimations().length") == 0


def test_key(start: Callable[..., ServerProcess], page: Callable[[ServerProcess], Browser], tmp_path: Path) -> None:
    """The page asks for a key, says when it is wrong, shows all with the right one, and forgets it when told to."""
    (tmp_path / "keys").write_text(f"alice:{SECRET}\n")
    server = start(API_KEYS_FILE=str(tmp_path / "keys"), CONSOLE="1")
    wait_until(lambda: server.listening() and server.get("/health/ready").status == 200, "ready")
    browser = page(server)
    browser.wait("#ask", "Key")
    assert not browser.shown("#data")
    browser.type("wrong")
    browser.press(ENTER)
    browser.wait("#wrong", "does not know this key")
    browser.type(SECRET)
    browser.press(ENTER)
    browser.wait("#pools", BUSYBOX)
    assert not browser.shown("#ask")
    browser.wait("#image", BUSYBOX)
    browser.script("document.getElementById('script').focus()")
    browser.type("echo hi")
    browser.press(f"{CONTROL}+{ENTER}")
    browser.wait("pre#stdout", "hi")
    browser.wait("#rows", "alice")
    browser.command("refresh")
    browser.wait("#pools", BUSYBOX)
    assert browser.script("return [localStorage.length, document.cookie]") == [0, ""]
    browser.script("document.getElementById('forget').click()")
    browser.wait("#ask", "Key")
    assert not browser.shown("#data")
    assert browser.text("#wrong") == ""
    assert browser.script("return sessionStorage.length") == 0


def test_gone_and_back(page: Callable[[ServerProcess], Browser]) -> None:
    """The page says when the server is gone, and is as before when it is back."""
    server = ServerProcess()
    try:
        browser = page(server.ready())
        browser.wait("#verdict", "Healthy")
        server.stop()
        assert "goes on asking" in browser.wait("#health", "No answer")
        assert browser.shown("#data")
        again = ServerProcess(port=server.port)
        try:
            browser.wait("#verdict", "Healthy", 30)
            assert not browser.script("return document.body.classList.contains('stale')")
        finally:
            again.discard()
    finally:
        server.discard()


def test_unhealthy(start: Callable[..., ServerProcess], page: Callable[[ServerProcess], Browser]) -> None:
    """Without an engine the page says why no script can run."""
    server = start(DOCKER_HOST="unix:///nonexistent/docker.sock")
    wait_until(server.listening, "it listens")
    browser = page(server)
    browser.wait("#verdict", "Unhealthy")
    browser.wait("#reasons", "/nonexistent/docker.sock")
    browser.wait("#pools", "2 missing")

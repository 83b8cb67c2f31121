"""`script-executor-health`: asks a running server how it is, for HEALTHCHECK and for people.

Its own process for each question, every few seconds: so the standard library only, and neither Twisted nor curl.
"""

from __future__ import annotations

import http.client
import json
import sys
from collections.abc import Sequence
from urllib.parse import urlsplit

URL = "http://127.0.0.1:8080/health"
LIMIT = 5.0  # seconds

USAGE = f"""\
usage: script-executor-health [URL]

Asks a server how it is, {URL} if nothing else is said, and prints what it says:
its status, every reason, and what could be better.
Exits with 0 if it serves, 1 if it does not, 2 if it was asked wrongly."""


def ask(url: str) -> tuple[bool, str]:
    """Whether the server at this URL serves, and what it says.  @raise ValueError: the URL is none."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError(f"{url} is no URL such as {URL}.")
    connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=LIMIT)
    try:
        connection.request("GET", parts.path or "/health")
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        return False, f"No server answers at {url}: {error or type(error).__name__}."
    finally:
        connection.close()
    return answer.status == 200, _told(body) or f"{url} answers with status {answer.status}."


def _told(body: bytes) -> str:
    """The status, the reasons and the advice, a line each; nothing if it is not what our server says."""
    try:
        report = json.loads(body)
        return "\n".join([f"The server is {report['status']}.", *report.get("reasons", ()), *report.get("advice", ())])
    except (ValueError, TypeError, KeyError):
        return ""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command.  @param arguments: None: those of the process."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if len(given) > 1 or (given and given[0].startswith("-")):
        print(USAGE)
        return 0 if given[0] in ("-h", "--help") else 2
    try:
        serves, told = ask(given[0] if given else URL)
    except ValueError as error:
        print(error)
        return 2
    print(told)
    return 0 if serves else 1

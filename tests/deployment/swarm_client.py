"""Load by name within a swarm, as a script in a container: python3 - URL SECONDS < swarm_client.py.

A client that tries again when a connection is refused or the server says that it is leaving. It prints one line of JSON
for each request that had no right answer, and last how many had one.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from urllib.parse import urlsplit

CLIENTS = 4
PATIENCE = 20.0  # seconds in which a request finds a server that takes it

right = 0
lock = threading.Lock()


def tell(**what: object) -> None:
    with lock:
        print(json.dumps(what), flush=True)


def ask(host: str, port: int, nonce: str) -> str:
    """What came of one request: right, again, or what went wrong."""
    connection = http.client.HTTPConnection(host, port, timeout=15)
    try:
        connection.connect()
    except OSError:
        return "again"
    try:
        body = json.dumps({"script": "echo $1", "args": [nonce]})
        connection.request("POST", "/execute", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        said = json.loads(answer.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"cut: {error!r}"
    finally:
        connection.close()
    if answer.status == 503:
        return "again"
    return "right" if answer.status == 200 and said["stdout"] == f"{nonce}\n" else f"wrong: {said}"


def work(host: str, port: int, number: int, until: float) -> None:
    global right
    count = 0
    while time.monotonic() < until:
        count += 1
        nonce = f"{number}-{count}"
        began = time.monotonic()
        while (result := ask(host, port, nonce)) == "again" and time.monotonic() < began + PATIENCE:
            time.sleep(0.05)
        if result != "right":
            tell(nonce=nonce, result=result)
        else:
            with lock:
                right += 1


def main(url: str, seconds: float) -> None:
    parts = urlsplit(url)
    until = time.monotonic() + seconds
    threads = [
        threading.Thread(target=work, args=(parts.hostname, parts.port or 80, number, until))
        for number in range(CLIENTS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tell(right=right)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))

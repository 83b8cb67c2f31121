"""The server in the foreground: python server.py --host 0.0.0.0 --port 8080 --debug."""

import sys

from twisted.scripts.twistd import run

if __name__ == "__main__":
    sys.argv[1:1] = ["--nodaemon", "--pidfile=", "script-executor"]
    run()

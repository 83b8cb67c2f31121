#!/bin/bash
# Runs the server on this machine, from this folder.
#
#   ./deploy.sh --env development     install, start the engine if none answers, start the server, run a first script
#   ./deploy.sh --stop                stop that server
#
# Settings come from the environment, then from .env, as for docker-compose. What runs leaves its pid and log in .run/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. .ci/engine.sh

pidfile=.run/server.pid
log=.run/server.log
python=.venv/bin/python

die() {
    echo "deploy.sh: $*" >&2
    exit 1
}

# Lines NAME=value of .env, for what the environment does not set.
read_dotenv() {
    local line
    [ -f .env ] || return 0
    while IFS= read -r line || [ -n "$line" ]; do
        if [[ $line =~ ^([A-Z][A-Z0-9_]*)=(.*)$ ]] && [ -z "${!BASH_REMATCH[1]:-}" ]; then
            export "${BASH_REMATCH[1]}=${BASH_REMATCH[2]}"
        fi
    done <.env
}

# A package of Debian for a program that is missing. Arguments: program, package.
need() {
    command -v "$1" >/dev/null && return
    [ "$(id -u)" = 0 ] || die "$1 is missing; install Debian's $2, or run this as root"
    echo "Installing $2 ..."
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$2"; } \
        >.run/packages.log 2>&1 || die "$2 could not be installed, see .run/packages.log"
}

install_server() {
    if ! .venv/bin/twistd --help 2>/dev/null | grep -q script-executor; then
        echo "Installing into .venv ..."
        python3 -m venv .venv || die "python3 -m venv fails; install python3-venv"
        $python -m pip install -qq -r requirements.txt
    fi
}

start_engine() {
    engine_answers && return
    need dockerd docker.io
    [ "$(id -u)" = 0 ] || die "no Docker engine answers; is it running, and are you in the group docker?"
    engine_start .run/dockerd.log || exit 1
    [ -z "$ENGINE_PID" ] || echo "Started dockerd (process $ENGINE_PID, log .run/dockerd.log); it stays after --stop."
}

# The base image: what the engine has, else what the registry gives, else one that is made here.
choose_image() {
    export BASE_IMAGE=${BASE_IMAGE:-alpine:latest}
    docker image inspect "$BASE_IMAGE" >/dev/null 2>&1 && return
    echo "Pulling $BASE_IMAGE ..."
    timeout 300 docker pull -q "$BASE_IMAGE" >.run/pull.log 2>&1 && return
    need busybox busybox-static
    tests/images/build.sh busybox
    docker tag script-executor-test:busybox script-executor-base:local
    echo "$BASE_IMAGE cannot be pulled ($(tail -n 1 .run/pull.log)); using script-executor-base:local, a busybox made here."
    BASE_IMAGE=script-executor-base:local
}

server_pid() {
    local pid
    pid=$(cat "$pidfile" 2>/dev/null) && grep -qs script-executor "/proc/$pid/cmdline" && echo "$pid"
}

# Ask the server. Arguments: seconds to try, path, body or nothing.
ask() {
    $python - "http://127.0.0.1:$port" "$@" <<'PYTHON'
import sys, time, urllib.request

base, seconds, path, *body = sys.argv[1:]
deadline = time.monotonic() + float(seconds)
data = body[0].encode() if body else None
request = urllib.request.Request(base + path, data, {"Content-Type": "application/json"})
while True:
    try:
        print(urllib.request.urlopen(request, timeout=60).read().decode())
        break
    except OSError as problem:
        if time.monotonic() > deadline:
            sys.exit(f"{base}{path}: {problem}")
        time.sleep(0.2)
PYTHON
}

start() {
    mkdir -p .run
    read_dotenv
    ! server_pid >/dev/null || die "the server runs already (process $(server_pid)); ./deploy.sh --stop ends it"
    port=${HOST_PORT:-8080}
    install_server
    start_engine
    choose_image
    .venv/bin/twistd -n --pidfile= script-executor --check-config
    .venv/bin/twistd --pidfile="$pidfile" --logfile="$log" script-executor
    ask 60 /health/ready >/dev/null || { tail -n 20 "$log" >&2; die "the server is not ready, see $log"; }
    echo "The server runs on http://127.0.0.1:$port (log $log). The first script says:"
    ask 0 /execute '{"script": "echo \"Hello World\"\ndate\npwd"}'
    cat <<TEXT
Try it:
  curl -X POST http://localhost:$port/execute -H "Content-Type: application/json" -d '{"script": "echo hello"}'
TEXT
}

stop() {
    local pid deadline
    pid=$(server_pid) || die "no server of this folder runs"
    kill "$pid"
    deadline=$((SECONDS + 120))
    while kill -0 "$pid" 2>/dev/null; do
        [ $SECONDS -lt $deadline ] || die "process $pid does not end, see $log"
        sleep 0.2
    done
    rm -f "$pidfile"
    # The volume with the agent outlives servers; one that is in use is refused by the engine and stays.
    docker volume ls -q --filter name=twisted-executor-agent- | xargs -r -n 1 docker volume rm >/dev/null 2>&1 || true
    echo "Stopped."
}

case "${1:-} ${2:-}" in
    "--env development") start ;;
    "--stop ") stop ;;
    *) sed -n '2,7s/^# \?//p' "${BASH_SOURCE[0]}"; [ "${1:-}" = --help ] || exit 2 ;;
esac

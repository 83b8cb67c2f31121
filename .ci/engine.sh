# shellcheck shell=bash
# Functions to be sourced: a Docker engine on a machine that may have none running, without systemd.

engine_answers() {
    timeout 10 docker version >/dev/null 2>&1
}

# Whether the process in this pid file has this name. Files of a killed run name processes that are gone, or others.
pid_is() {
    local pid
    pid=$(cat "$1" 2>/dev/null) && [ "$(cat "/proc/${pid:-none}/comm" 2>/dev/null)" = "$2" ]
}

# Wait until the engine answers. Arguments: seconds, pid of the dockerd to watch or nothing.
_engine_comes() {
    local deadline=$((SECONDS + $1))
    while ! engine_answers; do
        [ $SECONDS -lt $deadline ] || return 1
        [ -z "${2:-}" ] || kill -0 "$2" 2>/dev/null || return 1
        sleep 0.3
    done
}

# Start dockerd when no engine answers; its pid is in ENGINE_PID then, else that is empty. Arguments: the log file, and
# a file for the pid, which is there as soon as dockerd is, or nothing.
engine_start() {
    ENGINE_PID=
    engine_answers && return
    if [ -n "${DOCKER_HOST:-}" ]; then
        echo "No engine answers at DOCKER_HOST=$DOCKER_HOST; unset it to have one started here." >&2
        return 1
    fi
    if pid_is /var/run/docker.pid dockerd; then
        echo "A dockerd is there (process $(cat /var/run/docker.pid)), but does not answer; waiting for it ..."
        _engine_comes 30 && return
        echo "It does not answer within 30 seconds; end it, or look why." >&2
        return 1
    fi
    rm -f /var/run/docker.pid /var/run/docker.sock
    pid_is /var/run/docker/containerd/containerd.pid containerd || rm -rf /var/run/docker/containerd
    setsid dockerd >"$1" 2>&1 9>&- </dev/null &
    ENGINE_PID=$!
    [ -z "${2:-}" ] || echo "$ENGINE_PID" >"$2"
    _engine_comes 90 "$ENGINE_PID" && return
    echo "dockerd does not come up; the end of $1:" >&2
    tail -n 20 "$1" >&2
    return 1
}

# End the dockerd that engine_start started, if it did.
engine_stop() {
    [ -n "${ENGINE_PID:-}" ] || return 0
    kill "$ENGINE_PID" 2>/dev/null || return 0
    local deadline=$((SECONDS + 40))
    while kill -0 "$ENGINE_PID" 2>/dev/null && [ $SECONDS -lt $deadline ]; do
        sleep 0.2
    done
    kill -9 "$ENGINE_PID" 2>/dev/null || true
    ENGINE_PID=
}

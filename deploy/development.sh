# shellcheck shell=bash
# To be sourced by deploy.sh: the server as a daemon of this machine, in .venv, with this machine's engine.
. deploy/machine.sh
. deploy/engine.sh
. deploy/first-script.sh

python=.venv/bin/python
log=.run/server.log
pidfile=$PWD/.run/server.pid
again="./deploy.sh --env development"

start() {
    local pid
    prepare
    pid=$(server_pid)
    if [ -n "$pid" ]; then
        port=$(server_port "$pid")
        step "Waiting until the server, which runs already as process $pid, is ready" wait_until_ready or-gone
        if [ -n "$(server_pid)" ]; then
            tell_how
            return
        fi
        port=${HOST_PORT:-8080}
    fi
    has_space || die "the disk is full, $PWD can take no more; make room (df -h .), then run this again"
    step "Looking at this machine" look_at_machine
    [ ${#packages[@]} = 0 ] || step "Installing Debian's ${packages[*]}" install_packages "${packages[@]}"
    step "Installing into .venv" install_server
    step "Checking the settings" check_settings
    step "Looking for an engine" find_engine
    step "Looking for the image ${BASE_IMAGE:=alpine:latest}" find_image
    [ ! -f .run/others ] || step "Removing what a server that was killed has left" remove_containers
    step "Starting the server" start_server
    step "Waiting until it is ready" wait_until_ready
    step "Running a first script" run_first_script
    echo "$answer"
    tell_how
}

stop() {
    local pid
    prepare
    if [ -s .run/docker_host ]; then
        DOCKER_HOST=$(cat .run/docker_host)
        export DOCKER_HOST
    fi
    pid=$(server_pid)
    [ -n "$pid" ] || echo "No server of this folder runs."
    # More than one while it becomes a daemon.
    while [ -n "$pid" ]; do
        step "Ending the server, process $pid" end_server "$pid"
        pid=$(server_pid)
    done
    if [ -f .run/others ] || [ -f .run/made_image ]; then
        step "Removing what it left on the engine" clear_engine
    fi
    if [ -f .run/dockerd.pid ] || [ -f .run/dockerd.unit ]; then
        step "Ending the engine that was started here" end_engine
    fi
}

# A folder to write to, the settings, and nobody else at work here.
prepare() {
    local problem
    problem=$({ mkdir -p .run && : >>.run/lock; } 2>&1) ||
        die "$PWD/.run is not to be written (${problem##*: }); run this as its owner, or root"
    exec 9>>.run/lock
    if ! flock -n 9; then
        echo "Another deploy.sh is at work here (process $(cat .run/lock)), or what it began goes on; waiting for it."
        flock -w 120 9 || die "it has not ended in 120 seconds; end it, then run this again"
    fi
    # To stop no room is needed.
    { echo $$ >.run/lock; } 2>/dev/null || true
    read_settings
    # The server knows nothing of the contexts of the docker command.
    export DOCKER_CONTEXT=default
    port=${HOST_PORT:-8080}
}

# The running server of this folder. By its command line: pid files are late, or lost, or name others.
server_pid() {
    local processes=(/proc/[0-9]*/cmdline)
    { grep -slzFx --regexp="--pidfile=$pidfile" "${processes[@]}" || true; } | cut -d/ -f3 | tail -n 1
}

server_port() {
    tr '\0' '\n' <"/proc/$1/cmdline" | tail -n 1
}

# What the installation depends on: when none of it has changed, .venv is left as it is.
fingerprint() {
    {
        pwd
        python3 --version
        find setup.* pyproject.toml requirements.txt build_backend twisted_executor/agent -type f \
            ! -path '*/bin/*' ! -name '*.pyc' | sort | xargs cat
    } | sha256sum
}

install_server() {
    local wanted
    wanted=$(fingerprint)
    if [ "$wanted" = "$(cat .venv/deployed 2>/dev/null)" ]; then
        step_result="it is there"
        return
    fi
    # Never on top of a half one: pip does not repair what it left in the middle of a package.
    if [ -e .venv/unfinished ] || ! $python -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python3 -m venv --clear .venv >.run/install.log 2>&1 || die "python3 -m venv fails: $(reason .run/install.log)"
    fi
    rm -f .venv/deployed
    { : >.venv/unfinished; } 2>/dev/null || die "nothing can be written to $PWD/.venv; run this as its owner"
    $python -m pip install -q --no-warn-script-location -r requirements.txt >.run/install.log 2>&1 ||
        die "pip fails: $(reason .run/install.log)"
    rm .venv/unfinished
    echo "$wanted" >.venv/deployed
}

check_settings() {
    local said
    said=$(.venv/bin/twistd -n --pidfile= script-executor --check-config 2>&1) && return
    case $said in
        *"is wrong:"*) die "change these settings in the environment or in .env: ${said#*is wrong:?}" ;;
        *) die "the installation does not work ($(tail -n 1 <<<"$said")); remove .venv, then run this again" ;;
    esac
}

start_server() {
    local binary said
    rm -f "$pidfile"
    # No server tells its name: ours is one that is not there yet.
    containers | cut -d' ' -f1 | sort -u | { grep . || true; } >.run/others.new
    mv .run/others.new .run/others
    echo "${DOCKER_HOST:-}" >.run/docker_host
    for binary in twisted_executor/agent/bin/agent-*; do
        echo "twisted-executor-agent-$(sha256sum "$binary" | cut -c1-16)"
    done >.run/volumes
    said=$(daemon .venv/bin/twistd --pidfile="$pidfile" --logfile="$log" script-executor --port "$port" 2>&1) ||
        case $said$(tail -n 40 "$log" 2>/dev/null) in
            *"Address already in use"*) port_is_taken ;;
            *"Permission denied"*) die "the server may not start on port $port: $(tail -n 1 <<<"$said"); see $log" ;;
            *) die "the server does not start: $(tail -n 1 <<<"$said"); see $log" ;;
        esac
    step_result="process $(server_pid), log $log"
}

# Run a command that outlives us, and must not hold our lock or what our caller has open, such as a lock of its own.
daemon() {
    local fd
    for fd in /proc/"$BASHPID"/fd/*; do
        fd=${fd##*/}
        [ "$fd" -le 2 ] || exec {fd}>&-
    done
    exec "$@"
}

# Ask the server. Arguments: its process, seconds to try, path, body and headers or nothing.
ask() {
    $python - "http://127.0.0.1:$port" "$@" 2>&1 <<'PYTHON'
import os, sys, time, urllib.request

base, pid, seconds, path, *rest = sys.argv[1:]
headers = dict(line.split(": ", 1) for line in rest[1:])
request = urllib.request.Request(base + path, rest[0].encode() if rest else None, headers)
deadline = time.monotonic() + float(seconds)
while True:
    try:
        print(urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60).read().decode())
        break
    except OSError as error:
        problem = error.read().decode() if isinstance(error, urllib.error.HTTPError) else error
    if not os.path.exists(f"/proc/{pid or None}"):
        sys.exit("its process has ended")
    if time.monotonic() > deadline:
        sys.exit(f"{problem}")
    time.sleep(0.1)
PYTHON
}

# Argument: or-gone, when the server may have been about to end.
wait_until_ready() {
    local limit=60 pid said found
    # Images of further pools are pulled first.
    [ -z "${CUSTOM_POOLS:-}" ] || limit=900
    pid=$(server_pid)
    while ! said=$(ask "$pid" $limit /health/ready); do
        found=$(server_pid)
        if [ -z "$found" ] && [ -n "${1:-}" ]; then
            step_result="it has ended"
            return
        fi
        # It has become a daemon meanwhile, which is another process.
        [ "${found:-$pid}" != "$pid" ] ||
            die "the server is not ready ($said); $log says more, and ./deploy.sh --stop ends it"
        pid=$found
    done
    step_result=http://127.0.0.1:$port
}

run_first_script() {
    find_headers
    [ -z "$no_secret" ] || { answer="(No script was run: $no_secret.)" && return; }
    answer=$(ask "$(server_pid)" 0 /execute "$first_script" "${headers[@]}") ||
        die "the first script fails: $answer; see $log"
}

tell_how() {
    echo "Run it again, or end the server with ./deploy.sh --stop:"
    tell_request "$port"
}

# Argument: its process.
end_server() {
    local deadline=$((SECONDS + 120))
    kill "$1" 2>/dev/null || [ ! -e "/proc/$1" ] ||
        die "process $1 belongs to $(stat -c %U "/proc/$1"); run this as that user or as root"
    while [ -e "/proc/$1" ]; do
        [ $SECONDS -lt $deadline ] || die "it waits for its last runs; kill -9 $1 ends it at once, then run this again"
        sleep 0.1
    done
}

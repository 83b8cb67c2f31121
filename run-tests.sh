#!/bin/bash
# Everything that is checked, on a Debian machine with nothing prepared.
#
#   ./run-tests.sh           all but the slow tests; as root, for the packages and the engine
#   ./run-tests.sh --unit    linters, types and unit tests: needs neither root nor an engine
#   ./run-tests.sh --long    the tests that are marked "long" as well
#
# What follows "--" is given to pytest. It ends with 0 when everything is fine. Logs are under .run/tests/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. .ci/engine.sh

packages=(docker.io docker-compose curl haproxy systemd python3-venv musl-tools gcc-aarch64-linux-gnu libc6-dev-arm64-cross
    qemu-user-static busybox-static debootstrap docker-registry apache2-utils shellcheck wrk clang libclang-rt-14-dev
    prometheus rsyslog)
long_packages=(qemu-system-x86 chromium chromium-driver rootlesskit uidmap)
logs=.run/tests
failed=()
summary=()

die() {
    echo "run-tests.sh: $*" >&2
    exit 2
}

# Run a command as a named step: its output to the terminal and a log, its last line and its time to the summary.
step() {
    local name=$1 began=$SECONDS log="$logs/$1.log" verdict=ok
    shift
    echo "== $name: $*"
    "$@" 2>&1 | tee "$log" || { verdict=FAILED && failed+=("$name"); }
    summary+=("$(printf '%-10s %-6s %4d s  %s' "$name" "$verdict" $((SECONDS - began)) "$(last_line "$log")")")
}

# pytest's own summary where there is one, else the last line.
last_line() {
    grep -E '^(=+ )?[0-9]+ (passed|failed|skipped|errors?|deselected)\b' "$1" | tail -n 1 | grep . || tail -n 1 "$1"
}

# At the very end: of a long log often only the last lines are kept.
name_failures() {
    local name
    for name in "${failed[@]}"; do
        grep -aE '^(FAILED|ERROR) ' "$logs/$name.log" | cut -c 1-300 || true
    done
    echo "FAILED: ${failed[*]}"
}

# Of prometheus only the programs are wanted; its package starts a server on every address where nobody objects (policy-rc.d).
apt_install() (
    policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then
        trap 'rm -f $policy' EXIT
        printf '#!/bin/sh\ncase %s in prometheus*) exit 101 ;; esac\n' "\$1" >$policy
        chmod 755 $policy
    fi
    apt-get install -y -qq --no-install-recommends "$@"
)

install_packages() {
    local missing=() name
    for name in "${packages[@]}"; do
        dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q '^install ok installed$' || missing+=("$name")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    [ "$(id -u)" = 0 ] || die "these packages are missing, and only root can install them: ${missing[*]}"
    echo "== packages: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -qq && apt_install "${missing[@]}"; } >"$logs/packages.log" 2>&1 && return
    tail -n 20 "$logs/packages.log" >&2
    die "the packages could not be installed"
}

# What the installation depends on: when none of it has changed, the environment is left as it is.
fingerprint() {
    { pwd; python3 --version; find setup.* pyproject.toml requirements.txt MANIFEST.in build_backend twisted_executor/agent \
        -type f ! -path '*/bin/*' ! -name '*.pyc' -print0 | sort -z | xargs -0 cat; } | sha256sum
}

prepare_environment() {
    [ "$(fingerprint)" != "$(cat .venv/fingerprint 2>/dev/null)" ] || return 0
    echo "== environment: .venv"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || die "python3 is older than 3.11"
    python3 -m venv .venv || python3 -m venv --clear .venv || die "python3 -m venv fails; is python3-venv installed?"
    .venv/bin/python -m pip install -q --no-warn-script-location -r requirements.txt -e '.[dev]'
    fingerprint >.venv/fingerprint
}

# Only one run at a time in this folder. Every process of a run holds the lock; those of a run that was killed are ended.
take_lock() {
    local owner link
    exec 9>>.run/tests.lock
    if ! flock -n 9; then
        owner=$(cat .run/tests.lock)
        ! grep -qs run-tests "/proc/$owner/cmdline" || die "another run is under way here (process $owner)"
        for link in /proc/[0-9]*/fd/*; do
            [ "$(readlink "$link")" != "$PWD/.run/tests.lock" ] || end_process "$(cut -d/ -f3 <<<"$link")"
        done
        flock -w 10 9 || die "processes of an earlier run do not end"
    fi
    echo $$ >.run/tests.lock
    end_orphans
}

end_process() {
    [ "$1" = $$ ] || [ "$1" = "$BASHPID" ] || kill -9 "$1" 2>/dev/null || true
}

# Servers and registries that tests of a killed run have started; their parent is no pytest and no benchmark any more.
end_orphans() {
    local folder parent
    for folder in /proc/[0-9]*; do
        case $(tr '\0' ' ' 2>/dev/null <"$folder/cmdline") in
            *"$PWD/"*" -n --pidfile= script-executor"* | *"docker-registry serve "*/pytest-of-*)
                parent=$(sed -n 's/^PPid:\t//p' "$folder/status")
                grep -qsE "pytest|benchmarks" "/proc/$parent/cmdline" || end_process "${folder#/proc/}"
                ;;
        esac
    done 2>/dev/null
}

# Containers that a killed run has left, of our test images: created, ended or paused; the running ones end by themselves.
remove_leftovers() {
    local image
    for image in $(docker image ls -q script-executor-test | sort -u); do
        docker container ls -aq --filter "ancestor=$image" --filter status=created --filter status=exited \
            --filter status=dead --filter status=paused
    done | sort -u | xargs -r docker container rm -f >/dev/null 2>&1 || true
}

prepare_engine() {
    trap engine_stop EXIT
    trap 'exit 130' INT TERM HUP
    engine_start "$logs/dockerd.log" || die "without an engine only ./run-tests.sh --unit can run"
    # One that a killed run of ours has left is ended with this run.
    [ -n "$ENGINE_PID" ] || ! pid_is "$logs/dockerd.pid" dockerd || ENGINE_PID=$(cat "$logs/dockerd.pid")
    echo "$ENGINE_PID" >"$logs/dockerd.pid"
    remove_leftovers
    tests/images/build.sh
}

run_pytest() {
    local name=$1 limit=$2
    shift 2
    step "$name" timeout --foreground --kill-after=30 "$limit" .venv/bin/python -m pytest -q --durations=5 "$@"
}

main() {
    local mode=all limit=3600
    case ${1:-} in
        --unit) mode=unit && shift ;;
        --long) mode=long && limit=7200 && packages+=("${long_packages[@]}") && shift ;;
        --help | -h) sed -n '2,8s/^# \?//p' "${BASH_SOURCE[0]}" && exit 0 ;;
    esac
    [ "${1:-}" != -- ] || shift
    mkdir -p "$logs"
    take_lock

    [ $mode = unit ] || install_packages
    prepare_environment
    step ruff .venv/bin/ruff check .
    step format .venv/bin/ruff format --check .
    step mypy .venv/bin/mypy
    run_pytest unit 300 tests/unit "$@"
    if [ $mode != unit ]; then
        prepare_engine
        local marked=(-m "not long")
        [ $mode = all ] || marked=()
        run_pytest engine "$limit" tests --ignore=tests/unit "${marked[@]}" "$@"
    fi

    printf '\n== summary, %d s in all\n' $SECONDS
    printf '%s\n' "${summary[@]}"
    [ ${#failed[@]} = 0 ] || { name_failures; exit 1; }
}

main "$@"

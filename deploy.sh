#!/bin/bash
# Runs the server from this folder.
#
#   ./deploy.sh [--env production]    build the image, start it by compose, run a first script
#   ./deploy.sh --dry-run             look at all, say what that would do, and change nothing
#   ./deploy.sh --down                end it, and remove what it left on the engine but for images
#   ./deploy.sh --env development     without a container: install into .venv, start the server, run a first script
#   ./deploy.sh --stop                end what that started, and remove what it left on the engine
#
# Both install Debian's packages and start an engine where they are missing. Settings come from the environment, then
# from .env, where only lines that have to change do. Logs and pid files are in .run/. Every step can be repeated: after
# a failure, or when this was killed, run it again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

step_label=
dry_run=
# Where there is no such command, nothing is limited.
command -v timeout >/dev/null || timeout() { shift; "$@"; }

# Milliseconds; whole seconds where bash is older than 5.
now() {
    local time=${EPOCHREALTIME:-$SECONDS.000000}
    time=${time/[.,]/}
    echo "${time%???}"
}

# One line for one step, with its time. Arguments: what it does, the command, which may set step_result.
step() {
    step_label=$1
    step_began=$(now)
    step_result=
    shift
    [ ! -t 1 ] || printf '%s ...' "$step_label"
    "$@"
    end_step "$step_result"
}

end_step() {
    local tenths=$((($(now) - step_began) / 100))
    [ ! -t 1 ] || printf '\r\033[K'
    printf '[%3d.%d s] %s%s\n' $((tenths / 10)) $((tenths % 10)) "$step_label" "${1:+: $1}"
    step_label=
}

die() {
    [ -z "$step_label" ] || end_step failed
    echo "deploy.sh: $*" >&2
    exit 1
}

explain_exit() {
    [ -z "$step_label" ] || die "it ended in the middle of this step; it can be run again"
}

usage() {
    sed -n '2,13s/^# \{0,1\}//p' deploy.sh
}

# Lines NAME=value of .env, for what the environment does not set.
read_dotenv() {
    local line name value
    [ -f .env ] || return 0
    while IFS= read -r line || [ -n "$line" ]; do
        [[ $line =~ ^([A-Z][A-Z0-9_]*)=(.*)$ ]] || continue
        name=${BASH_REMATCH[1]} value=${BASH_REMATCH[2]%$'\r'}
        [ -z "${!name:-}" ] || continue
        case $value in
            \"*\" | \'*\') value=${value:1:${#value}-2} ;;
            *) value=${value%% #*} ;;
        esac
        export "$name=$value"
    done <.env
}

# The settings of both ways to run it.
read_settings() {
    read_dotenv
    # This is where engines listen; said or not, one may be started there.
    [ "${DOCKER_HOST:-}" != unix:///var/run/docker.sock ] || unset DOCKER_HOST
}

production() {
    # shellcheck source=deploy/production.sh
    . deploy/production.sh
    "$@"
}

development() {
    # shellcheck source=deploy/development.sh
    . deploy/development.sh
    "$@"
}

main() {
    local environment=production action=start
    while [ $# -gt 0 ]; do
        case $1 in
            --env) environment=${2:-} && shift ;;
            --env=*) environment=${1#--env=} ;;
            --stop) environment=development && action=stop ;;
            --down) action=down ;;
            --dry-run) dry_run=yes ;;
            --help | -h) usage && exit 0 ;;
            *) environment= ;;
        esac
        [ $# = 0 ] || shift
    done
    trap explain_exit EXIT
    case $environment-$action${dry_run:+-dry} in
        production-*) production $action ;;
        development-start | development-stop) development $action ;;
        *) usage >&2 && exit 2 ;;
    esac
}

main "$@"

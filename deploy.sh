#!/bin/bash
# Runs the server from this folder.
#
#   ./deploy.sh --env development     install, start an engine if none answers, start the server, run a first script
#   ./deploy.sh --stop                end what that started, and remove what it left on the engine
#   ./deploy.sh [--env production]    not there yet
#
# Settings come from the environment, then from .env, as for docker-compose. Logs and pid files are in .run/.
# Every step can be repeated: after a failure, or when this was killed, run it again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

step_label=

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
    sed -n '2,9s/^# \{0,1\}//p' deploy.sh
}

# Lines NAME=value of .env, for what the environment does not set.
read_dotenv() {
    local line value
    [ -f .env ] || return 0
    while IFS= read -r line || [ -n "$line" ]; do
        [[ $line =~ ^([A-Z][A-Z0-9_]*)=(.*)$ ]] || continue
        [ -z "${!BASH_REMATCH[1]:-}" ] || continue
        value=${BASH_REMATCH[2]%$'\r'}
        case $value in
            \"*\" | \'*\') value=${value:1:${#value}-2} ;;
            *) value=${value%% #*} ;;
        esac
        export "${BASH_REMATCH[1]}=$value"
    done <.env
}

# Its place: what builds the server's own image and starts it by compose comes here.
production() {
    echo "deploy.sh: the production half is not there yet; ./deploy.sh --env development runs the server here." >&2
    exit 2
}

development() {
    # shellcheck source=deploy/development.sh
    . deploy/development.sh
    "$@"
}

main() {
    local environment=production stop=
    while [ $# -gt 0 ]; do
        case $1 in
            --env) environment=${2:-} && shift ;;
            --env=*) environment=${1#--env=} ;;
            --stop) stop=yes ;;
            --help | -h) usage && exit 0 ;;
            *) environment= ;;
        esac
        [ $# = 0 ] || shift
    done
    trap explain_exit EXIT
    case ${stop:-$environment} in
        yes) development stop ;;
        development) development start ;;
        production) production ;;
        *) usage >&2 && exit 2 ;;
    esac
}

main "$@"

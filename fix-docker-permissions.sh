#!/bin/bash
# The server's container may use the Docker socket when it is in the group that owns it: DOCKER_GID in .env.
#
#   ./fix-docker-permissions.sh --check           say whether it fits; exit status 1 when it does not
#   ./fix-docker-permissions.sh --fix             put the socket's group into .env
#   ./fix-docker-permissions.sh --fix --gid 998   put this one there
#
# Nothing but .env is changed, and of that only this line.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. deploy/socket.sh

restart="docker-compose up -d --build"

die() {
    echo "fix-docker-permissions.sh: $*" >&2
    exit 1
}

usage() {
    sed -n '4,6s/^# *//p' fix-docker-permissions.sh
}

find_socket() {
    socket=$(socket_path)
    [ ! -d "$socket" ] || die "$socket is a folder, as an engine makes it for a mount; remove it and start Docker"
    [ -e "$socket" ] || die "there is no $socket; start Docker, or say in DOCKER_SOCKET where its socket is"
    [ -S "$socket" ] || die "$socket is no socket"
    group=$(socket_group "$socket") || die "the group of $socket cannot be seen"
}

look_at_engine() {
    local said
    command -v docker >/dev/null || die "there is no docker command here; install it (Debian: docker.io)"
    said=$(docker version --format '{{.Server.Version}}' 2>&1) || case $said in
        *"permission denied"*)
            die "$(id -un) may not use $socket; run: sudo usermod -aG docker \$USER, then log in again" ;;
        *) die "no engine answers: $said" ;;
    esac
    echo "The engine answers: Docker $said."
}

check() {
    local mode set
    find_socket
    mode=$(file_mode "$socket")
    set=$(dotenv_value DOCKER_GID)
    echo "$socket belongs to group $group and has the mode $mode."
    look_at_engine
    [ $((0$mode & 020)) != 0 ] || die "its group may not write to $socket; run: sudo chmod g+w $socket"
    # 999 is what docker-compose.yml takes.
    [ "${set:-999}" = "$group" ] || die "DOCKER_GID in .env is ${set:-not set, which means 999}, but the group is" \
        "$group; run: ./fix-docker-permissions.sh --fix"
    echo "The server's container will be in group $group: all is well."
}

fix() {
    if [ -z "$gid" ]; then
        find_socket
        gid=$group
    fi
    set_dotenv DOCKER_GID "$gid" || die ".env cannot be written; run this as the owner of $PWD"
    echo "DOCKER_GID=$gid is in .env. For the server to see it, run: $restart"
}

main() {
    local action='' gid=''
    while [ $# -gt 0 ]; do
        case $1 in
            --check) action=check ;;
            --fix) action=fix ;;
            --gid) gid=${2:-none} && shift ;;
            --gid=*) gid=${1#--gid=} ;;
            --help | -h) usage && exit 0 ;;
            *) action=unknown && break ;;
        esac
        [ $# = 0 ] || shift
    done
    case $gid in
        *[!0-9]*) die "--gid must be the number of a group, such as 998; getent group docker shows it" ;;
    esac
    case $action in
        check | fix) "$action" ;;
        *) usage >&2 && exit 2 ;;
    esac
}

main "$@"

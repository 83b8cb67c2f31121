# shellcheck shell=bash
# To be sourced: the engine's socket, its group, and lines of .env. For bash 3.2 and BSD's commands as well.

# The socket that is mounted into the server's container.
socket_path() {
    local path=${DOCKER_SOCKET:-}
    case ${DOCKER_HOST:-} in
        unix://*) path=${path:-${DOCKER_HOST#unix://}} ;;
    esac
    echo "${path:-/var/run/docker.sock}"
}

# The group of a socket as a container sees it. Argument: its path.
socket_group() {
    # Docker Desktop's engine is in a virtual machine, where its socket belongs to root.
    if [ "$(uname -s)" = Darwin ]; then
        echo 0
    else
        stat -L -c %g "$1" 2>/dev/null || stat -L -f %g "$1"
    fi
}

# The mode of a file, such as 660.
file_mode() {
    stat -L -c %a "$1" 2>/dev/null || stat -L -f %Lp "$1"
}

# What .env says about a variable, the last line counts; nothing where it says nothing.
dotenv_value() {
    [ ! -f .env ] || tr -d '\r' <.env | sed -n "s/^$1=//p" | tail -n 1
}

# Put NAME=value into .env in place of the lines that say something else; all others stay as they are.
set_dotenv() {
    local name=$1 value=$2 new
    [ "$(dotenv_value "$name")" != "$value" ] || return 0
    new=$(mktemp .env.XXXXXX) || return 1
    # With the mode that it has. awk ends the last line, when it has no end, before ours is added.
    if { [ ! -f .env ] || { cp -p .env "$new" && awk -v name="$name" 'index($0, name "=") != 1' .env >"$new"; }; } &&
        printf '%s=%s\n' "$name" "$value" >>"$new"; then
        # Through a link, not in place of it.
        if [ -L .env ]; then
            cat "$new" >.env && rm -f "$new"
        else
            mv -f "$new" .env
        fi
    else
        rm -f "$new"
        return 1
    fi
}

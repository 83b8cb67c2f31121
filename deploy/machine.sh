# shellcheck shell=bash
# To be sourced by development.sh: what the machine must have, and why something failed.

is_root() {
    [ "$(id -u)" = 0 ]
}

look_at_machine() {
    packages=()
    look_at_python
    look_at_port
    look_at_engine
}

look_at_python() {
    local version
    if ! command -v python3 >/dev/null; then
        packages+=(python3 python3-venv)
        return
    fi
    version=$(python3 -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>&1) ||
        die "python3 does not run: $version"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        die "python3 is Python $version, but 3.11 or newer is needed; install one and put it first on PATH"
    python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv)
    step_result="Python $version"
}

# What is no port is left to the server, which has words for it.
look_at_port() {
    [[ $port =~ ^[0-9]{1,5}$ ]] || return 0
    ! timeout 2 bash -c ": </dev/tcp/127.0.0.1/$port" 2>/dev/null || port_is_taken
    step_result+="${step_result:+, }port $port is free"
}

port_is_taken() {
    local owner
    owner=$(ss -Hltnp "sport = :$port" 2>/dev/null | head -n 1 || true)
    owner=$(sed -n 's/.*users:(("\([^"]*\)",pid=\([0-9]*\).*/\1, process \2/p' <<<"$owner")
    die "port $port is taken${owner:+ by $owner}; end that, or choose another: HOST_PORT=$((port + 1)) $again"
}

look_at_engine() {
    local said=
    if command -v docker >/dev/null; then
        if said=$(timeout 10 docker version --format '{{.Server.Version}}' 2>&1); then
            step_result+="${step_result:+, }Docker $said answers"
            return
        fi
    fi
    case $said in
        *"permission denied"*)
            die "the engine is there, but $(id -un) may not use it; run: sudo usermod -aG docker \$USER, log in again" \
                "and repeat this, or run it as root" ;;
    esac
    [ -z "${DOCKER_HOST:-}" ] || [ -z "$said" ] ||
        die "no engine answers at DOCKER_HOST=$DOCKER_HOST; start it, or unset DOCKER_HOST to use this machine's own"
    { command -v docker && command -v dockerd; } >/dev/null || packages+=(docker.io ca-certificates)
    is_root || [ ${#packages[@]} -gt 0 ] ||
        die "no Docker engine answers, and only root can start one: sudo systemctl start docker, or sudo $again"
}

# Arguments: names of packages.
install_packages() {
    is_root || die "only root can install them: sudo apt-get install $*, or sudo $again"
    command -v apt-get >/dev/null || die "there is no apt-get; install what your system calls $*, then run this again"
    # Closed lock: services that packages start live on.
    {
        apt-get update -qq || true
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
    } >.run/packages.log 2>&1 9>&- || die "$* cannot be installed: $(reason .run/packages.log)"
}

# Why a command failed, and what to do, from its log.
reason() {
    local line network='name resolution|resolv(e|ing)|network is unreachable|connection (refused|timed out|broken)|'
    network+='connect timeout|failed to establish|could not connect|failed to fetch|from versions: none'
    if grep -qi 'no space left on device' "$1" || ! has_space; then
        line="the disk is full; make room (df -h . shows how much there is), then run this again"
    elif line=$(grep -Ei "$network" "$1" | tail -n 1 | grep .); then
        line="packages cannot be downloaded (${line#"${line%%[! ]*}"}); connect this machine or set https_proxy,"
        line+=" then run this again"
    else
        line=$({ grep -Ei '^ *(e|error|fatal)\b' "$1" || cat "$1"; } | tail -n 1)
    fi
    echo "$line (log: $1)"
}

has_space() {
    local status=0 folder
    for folder in .run .venv; do
        [ ! -w $folder ] || { head -c 1000000 /dev/zero >$folder/space; } 2>/dev/null || status=1
        rm -f $folder/space
    done
    return $status
}

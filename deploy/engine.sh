# shellcheck shell=bash
# To be sourced by development.sh: this machine's engine, the base image, and what a server leaves there.
. .ci/engine.sh

made_image=script-executor-base:busybox

find_engine() {
    engine_answers || start_engine
    step_result+="Docker $(docker version --format '{{.Server.Version}}')"
}

start_engine() {
    is_root || die "no Docker engine answers, and only root can start one: sudo systemctl start docker, or sudo $again"
    if [ -d /run/systemd/system ]; then
        touch .run/dockerd.unit
        systemctl start docker >.run/dockerd.log 2>&1 ||
            die "systemd cannot start docker; journalctl -u docker says why"
        step_result="started as a service, "
    else
        engine_start .run/dockerd.log .run/dockerd.pid 2>.run/engine.log || die "$(cat .run/engine.log)"
        step_result="started dockerd as process $ENGINE_PID, "
    fi
}

end_engine() {
    local others
    others=$(docker container ls -q 2>/dev/null | wc -l)
    if [ "$others" -gt 0 ]; then
        step_result="it stays, as long as containers of others run on it: $others"
        return
    fi
    if [ -f .run/dockerd.unit ]; then
        systemctl stop docker.socket docker >.run/engine.log 2>&1 ||
            die "systemd cannot stop docker; journalctl -u docker says why"
    elif pid_is .run/dockerd.pid dockerd; then
        ENGINE_PID=$(cat .run/dockerd.pid)
        step_result="process $ENGINE_PID"
        engine_stop
    else
        step_result="it has ended already"
    fi
    rm -f .run/dockerd.unit .run/dockerd.pid
}

# The default image: what the engine has, else what the registry gives, else one that is made here.
find_image() {
    export BASE_IMAGE
    obtain_image BASE_IMAGE busybox
    [ -z "$made" ] || touch .run/made_image
}

# The same for any; what was made is in $made. Arguments: the variable that names it, and what can stand for it, as
# deploy/base-images.sh calls it.
obtain_image() {
    local variable=$1 wanted=${!1} base=script-executor-base:$2 problem
    made=
    if docker image inspect "$wanted" >/dev/null 2>&1; then
        step_result="the engine has it"
        return
    fi
    if timeout 300 docker pull -q "$wanted" >.run/pull.log 2>&1 9>&-; then
        step_result=pulled
        return
    fi
    problem=$(tail -n 1 .run/pull.log | sed 's/^Error response from daemon: //')
    case $problem in
        *denied* | *unauthorized* | *"manifest unknown"* | *"not found"* | *"invalid reference"* | *"no space left"*)
            die "$variable=$wanted cannot be pulled: $problem; name another, or log in with docker login" ;;
    esac
    printf -v "$variable" %s "$base"
    step_result="no registry can be reached (${problem:-no answer in 300 seconds}), so $base is used, which"
    if docker image inspect "$base" >/dev/null 2>&1; then
        step_result+=" is there"
        return
    fi
    deploy/base-images.sh "$2" >.run/image.log 2>&1 9>&- ||
        die "no registry can be reached ($problem), and no image can be made here: $(reason .run/image.log)"
    made=$base
    step_result+=" was made of Debian's packages"
}

# Containers of all servers, as "instance id". Arguments: further filters.
containers() {
    docker container ls -a --filter label=twisted-executor "$@" \
        --format '{{.Label "twisted-executor.instance"}} {{.ID}}'
}

# The containers of a server of this folder that has ended. They end by themselves, but for those that never started.
# Another server that came after ours has some that run.
remove_containers() {
    local deadline=$((SECONDS + 5)) found
    while found=$(containers | grep -vFf .run/others || true) && [ -n "$found" ] && [ $SECONDS -lt $deadline ]; do
        sleep 0.2
    done
    [ -n "$found" ] || return 0
    found=$(grep -vFf <(containers --filter status=running | cut -d' ' -f1) <<<"$found" | cut -d' ' -f2 || true)
    [ -z "$found" ] || xargs docker container rm -f <<<"$found" >/dev/null
}

clear_engine() {
    local volume
    engine_answers || die "the engine does not answer; start it, as $again does, then repeat --stop"
    if [ -f .run/others ]; then
        remove_containers
        while read -r volume; do
            remove_unless_used volume "$volume"
        done <.run/volumes
        rm -f .run/others .run/volumes .run/docker_host "$pidfile"
    fi
    if [ -f .run/made_image ]; then
        remove_unless_used image "$made_image"
        rm -f .run/made_image
    fi
}

# Arguments: volume or image, its name.
remove_unless_used() {
    docker "$1" inspect "$2" >/dev/null 2>&1 || return 0
    if [ -n "$(docker container ls -aq --filter "${1/image/ancestor}=$2")" ] ||
        ! docker "$1" rm "$2" >/dev/null 2>&1; then
        step_result+="${step_result:+, }the $1 $2 stays, another server uses it"
    fi
}

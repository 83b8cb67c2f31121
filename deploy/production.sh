# shellcheck shell=bash
# To be sourced by deploy.sh: the server in a container, by compose. For bash 3.2 and BSD's commands as well.
. deploy/machine.sh
. deploy/engine.sh
. deploy/socket.sh
. deploy/first-script.sh

again=./deploy.sh
health=(script-executor script-executor-health http://127.0.0.1:8080/health/ready)

start() {
    prepare
    packages=()
    step "Looking at this machine" look_at_machine_for_compose
    [ ${#packages[@]} = 0 ] || change "Installing Debian's ${packages[*]}" install_packages "${packages[@]}"
    engine_answers 2>/dev/null || change "Starting an engine" find_engine
    if [ -n "$dry_run" ] && ! engine_answers; then
        echo "What comes then depends on the engine: the group of its socket and the images that it has."
        return
    fi
    find_compose || die "Debian's docker-compose is installed, but does not run"
    step "Looking at the engine's socket" look_at_socket
    write_dotenv DOCKER_GID "$group"
    [ -z "${API_KEYS_FILE:-}" ] || keep_keys
    change "Looking for the image ${SERVER_BASE_IMAGE:=debian:trixie-slim} to build on" find_base
    change "Looking for the image ${BASE_IMAGE:=alpine:latest} for scripts" find_default
    change "Building ${SERVER_IMAGE:=script-executor:latest}" build
    change "Checking the settings" check_settings
    change "Starting it" bring_up
    change "Waiting until it is ready" wait_until_ready
    change "Running a first script" run_first_script
    [ -z "$dry_run" ] || return 0
    echo "$answer"
    echo "Run it again:"
    tell_request "$port"
    echo "See it with: $compose ps; $compose logs -f. End it with: ./deploy.sh --down"
}

down() {
    prepare
    find_compose || die "there is no docker compose and no docker-compose here, so nothing of it runs"
    engine_answers || die "no engine answers, so nothing of it runs"
    change "Ending the server and its containers" compose_down
}

prepare() {
    [ -n "$dry_run" ] || { mkdir -p .run 2>/dev/null && [ -w .run ]; } ||
        die "$PWD/.run is not to be written; run this as its owner, or root"
    read_settings
    port=${HOST_PORT:-8080}
}

# A step that changes something: in a dry run it is only told.
change() {
    if [ -n "$dry_run" ]; then
        echo "[dry run] $1"
    else
        step "$@"
    fi
}

write_dotenv() {
    [ "$(dotenv_value "$1")" = "$2" ] || change "Writing $1=$2 into .env" put_dotenv "$1" "$2"
    export "$1=$2"
}

put_dotenv() {
    set_dotenv "$1" "$2" || die ".env cannot be written; run this as the owner of $PWD"
}

# Every later docker-compose needs the file's name as well; one that is not there the engine would make, as a folder.
keep_keys() {
    local files=${COMPOSE_FILE:-docker-compose.yml} overlay=deploy/compose.api-keys.yml
    [ -f "$API_KEYS_FILE" ] || die "API_KEYS_FILE=$API_KEYS_FILE is no file; put name:secret there for each key"
    write_dotenv API_KEYS_FILE "$(cd "$(dirname "$API_KEYS_FILE")" && pwd)/${API_KEYS_FILE##*/}"
    [[ $files == *$overlay* ]] || write_dotenv COMPOSE_FILE "$files${COMPOSE_PATH_SEPARATOR:-:}$overlay"
}

look_at_machine_for_compose() {
    [ "$(uname -s)" != Darwin ] || engine_answers || die "Docker Desktop does not answer; start it, then run this again"
    look_at_engine
    find_compose || packages+=(docker-compose)
    step_result+="${step_result:+, }${compose:-no compose yet}"
    [ -n "$(running)" ] || look_at_port
}

# The compose command of this machine: docker's own, else the one of its own name.
find_compose() {
    compose=
    command -v docker >/dev/null || return 1
    if docker compose version >/dev/null 2>&1; then
        compose="docker compose"
    elif command -v docker-compose >/dev/null && docker-compose version >/dev/null 2>&1; then
        compose=docker-compose
    else
        return 1
    fi
}

# The container of an earlier run of this folder, which has the port.
running() {
    [ -z "$compose" ] || $compose ps -q script-executor 2>/dev/null || true
}

look_at_socket() {
    local socket
    socket=$(socket_path)
    [ -S "$socket" ] || die "there is no socket $socket; DOCKER_SOCKET says where that of the engine is"
    group=$(socket_group "$socket") || die "the group of $socket cannot be seen"
    step_result="$socket belongs to group $group"
}

find_base() {
    obtain_image SERVER_BASE_IMAGE debian
    keep SERVER_BASE_IMAGE script-executor-base:debian
}

find_default() {
    obtain_image BASE_IMAGE busybox
    keep BASE_IMAGE script-executor-base:busybox
}

# What was made here in place of what could not be pulled is taken from now on.
keep() {
    [ "${!1}" != "$2" ] || put_dotenv "$1" "$2"
    export "${1?}"
}

build() {
    # What this machine trusts beside the usual, the build has to trust as well.
    cp -p /usr/local/share/ca-certificates/*.crt deploy/ca-certificates/ 2>/dev/null || true
    $compose build >.run/build.log 2>&1 || die "the image cannot be built: $(reason .run/build.log)"
    step_result=$(docker image inspect --format '{{.Size}}' "$SERVER_IMAGE" | awk '{print int($1 / 1e6) " MB"}')
}

check_settings() {
    local said
    said=$($compose run --rm --no-deps -T script-executor --check-config 2>.run/check.log) && return
    case $said in
        *"is wrong:"*) die "change these settings in the environment or in .env: ${said#*is wrong:?}" ;;
        *) die "the image does not run: $(tail -n 1 .run/check.log)" ;;
    esac
}

bring_up() {
    $compose up -d >.run/up.log 2>&1 || case $(cat .run/up.log) in
        *"already allocated"* | *"address already in use"*) port_is_taken ;;
        *) die "it does not start: $(reason .run/up.log)" ;;
    esac
    step_result=$(docker container ls --filter "id=$(running)" --format '{{.Names}}')
}

wait_until_ready() {
    # Images of further pools are pulled first.
    local limit=60 deadline said
    [ -z "${CUSTOM_POOLS:-}" ] || limit=900
    deadline=$((SECONDS + limit))
    until said=$($compose exec -T "${health[@]}" 2>&1); do
        [ $SECONDS -lt $deadline ] || die "it is not ready: $(tail -n +2 <<<"$said"); $compose logs says more"
        sleep 1
    done
    step_result=http://localhost:$port
}

run_first_script() {
    local header options=()
    command -v curl >/dev/null || { answer="(Without curl no script was run.)" && return; }
    find_headers
    [ -z "$no_secret" ] || { answer="(No script was run: $no_secret.)" && return; }
    for header in "${headers[@]}"; do
        options+=(-H "$header")
    done
    answer=$(curl -sS --noproxy '*' --max-time 60 "${options[@]}" -d "$first_script" \
        "http://${HOST_ADDRESS:-127.0.0.1}:$port/execute" 2>&1) || die "the first script fails: $answer"
    case $answer in
        '{"success":true'*) ;;
        *) die "the first script fails: $answer" ;;
    esac
}

compose_down() {
    $compose down >.run/down.log 2>&1 || die "it does not end: $(reason .run/down.log)"
    local volume
    # The agent's, which any server makes again.
    for volume in $(docker volume ls -q | grep -E '^twisted-executor-agent-[0-9a-f]{16}$'); do
        remove_unless_used volume "$volume"
    done
}

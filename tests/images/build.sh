#!/bin/bash
# Makes the images that the tests need, from the files of this Debian: no registry is asked.
#
#   tests/images/build.sh [name ...]     all of them without a name
#
# An image that the engine has already, made by the same version of this script and its programs, is left alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. deploy/root-filesystems.sh

repository=script-executor-test
label=script-executor-test.version
version=$(cat tests/images/build.sh deploy/root-filesystems.sh tests/security/*.c | sha256sum | cut -c1-16)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

make_busybox() {
    busybox_root "$1"
}

# No /bin/sh; what begins with "#!/bin/busybox sh" runs.
make_noshell() {
    mkdir -p "$1"/{bin,tmp}
    cp /bin/busybox "$1/bin/busybox"
}

# Brings a file of its own where the server's agent is mounted.
make_fake-agent() {
    busybox_root "$1"
    mkdir "$1/.executor"
    printf '#!/bin/sh\necho the agent of the image\nexec sleep 1000\n' >"$1/.executor/agent"
    chmod 755 "$1/.executor/agent"
}

# Sets everything that an image can set.
make_volumes() {
    busybox_root "$1"
    mkdir -p "$1/data" "$1/var/lib/cache dir"
    echo kept >"$1/data/file"
    changes+=(
        --change 'VOLUME ["/data/", "/var/lib/cache dir"]'
        --change 'ENTRYPOINT ["/bin/false"]'
        --change 'CMD ["nothing"]'
        --change 'USER 1234:1234'
        --change 'WORKDIR /data'
        --change 'ENV GREETING="from the image" PATH=/bin:/opt/bin'
        --change 'HEALTHCHECK --interval=1s CMD ["/bin/false"]'
    )
}

# The programs of the security tests, one of them also with the set-user-id bit, and a writable place of the image's.
make_attacks() {
    local source kernel=(-idirafter /usr/include -idirafter "/usr/include/$(uname -m)-linux-gnu")
    busybox_root "$1"
    for source in tests/security/*.c; do
        musl-gcc -std=gnu11 -static -Os -Wall -Wextra -Werror "${kernel[@]}" -o "$1/bin/$(basename "$source" .c)" "$source"
    done
    cp "$1/bin/attempt" "$1/bin/attempt-as-root"
    chmod 4755 "$1/bin/attempt-as-root"
    changes+=(--change 'VOLUME ["/data"]')
}

# Debian with Python: glibc, coreutils and a real /bin/sh.
make_python() {
    debian_root "$1" python3
}

# What ordinary programs are made of; large, so only made when it is asked for.
make_tools() {
    debian_root "$1" python3,nodejs,gcc,libc6-dev,strace,default-jdk-headless,golang-go
}

is_current() {
    [ "$(docker image inspect --format "{{index .Config.Labels \"$label\"}}" "$repository:$1" 2>/dev/null)" = "$version" ]
}

build() {
    local name=$1 changes=(--change "LABEL $label=$version" --change 'ENV PATH=/usr/local/bin:/usr/bin:/bin')
    ! is_current "$name" || return 0
    echo "Making the image $repository:$name ..."
    mkdir "$work/$name"
    "make_$name" "$work/$name"
    import_root "$work/$name" "$repository:$name" "${changes[@]}"
    rm -rf "${work:?}/$name"
}

[ $# -gt 0 ] || set -- busybox noshell fake-agent volumes attacks python
for name in "$@"; do
    build "$name"
done

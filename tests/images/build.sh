#!/bin/bash
# Makes the images that the tests need, from the files of this Debian: no registry is asked.
#
#   tests/images/build.sh [name ...]     all of them without a name
#
# An image that the engine has already, made by the same version of this script and its programs, is left alone.
# REPOSITORY gives them another name than script-executor-test.
set -euo pipefail

repository=${REPOSITORY:-script-executor-test}
label=script-executor-test.version
here=$(dirname "${BASH_SOURCE[0]}")
version=$(cat "${BASH_SOURCE[0]}" "$here"/../security/*.c | sha256sum | cut -c1-16)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A root file system with Debian's static busybox under all of its names.
busybox_root() {
    local root=$1 name
    mkdir -p "$root"/{bin,etc,root,tmp,usr/bin,var/tmp}
    chmod 1777 "$root/tmp" "$root/var/tmp"
    cp /bin/busybox "$root/bin/busybox"
    for name in $(/bin/busybox --list); do
        [ "$name" = busybox ] || ln -s busybox "$root/bin/$name"
    done
    ln -s /bin/busybox "$root/usr/bin/env"
    printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$root/etc/passwd"
    printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
}

make_busybox() {
    busybox_root "$1"
}

# What deploy.sh uses where no registry can be reached.
make_local() {
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
    for source in "$here"/../security/*.c; do
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

# Arguments: the folder, packages.
debian_root() {
    local mirror
    # shellcheck disable=SC2016
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Codename: $(codename)" | head -n 1)
    debootstrap --variant=minbase --include="$2" "$(codename)" "$1" ${mirror:+"$mirror"} >"$work/log" 2>&1 ||
        { tail -n 20 "$work/log" "$1/debootstrap/debootstrap.log" >&2; return 1; }
    rm -rf "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/* "$1"/usr/share/{doc,locale,man}/* "$1"/var/log/*
}

codename() {
    # shellcheck source=/dev/null
    (. /etc/os-release && echo "$VERSION_CODENAME")
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
    tar -C "$work/$name" --numeric-owner -c . | docker import "${changes[@]}" - "$repository:$name" >/dev/null
    rm -rf "${work:?}/$name"
}

[ $# -gt 0 ] || set -- busybox noshell fake-agent volumes attacks python
for name in "$@"; do
    build "$name"
done

#!/bin/bash
# Makes the images that everything else is made from, of Debian's packages alone: no image registry is asked.
#
#   deploy/base-images.sh [name ...]     both without a name; as root, on Debian
#
#   busybox   script-executor-base:busybox, static busybox: for scripts (BASE_IMAGE)
#   debian    script-executor-base:debian, by debootstrap: what images are built on (--build-arg BASE=...)
#
# The packages come from where this machine takes its own; MIRROR=http://... is another place. SUITE=trixie makes another
# Debian than this machine's. An image that is there is made anew.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. deploy/root-filesystems.sh

repository=script-executor-base

die() {
    echo "base-images.sh: $*" >&2
    exit 1
}

check_machine() {
    [ "$(id -u)" = 0 ] || die "only root can make root file systems; run sudo deploy/base-images.sh"
    command -v apt-get >/dev/null || die "this is no Debian; make the images on one, and carry them over with docker save and docker load"
    docker version >/dev/null 2>&1 || die "no Docker engine answers; start it, or install Debian's docker.io"
}

need() {
    [ ! -x "$1" ] || return 0
    apt-get install -y -qq --no-install-recommends "$2" >/dev/null || die "Debian's package $2 cannot be installed"
}

make_busybox() {
    # A busybox that needs libraries would not run in an image of its own.
    [ ! -x /bin/busybox ] || ! ldd /bin/busybox >/dev/null 2>&1 || apt-get install -y -qq busybox-static >/dev/null
    need /bin/busybox busybox-static
    busybox_root "$1"
}

make_debian() {
    need /usr/sbin/debootstrap debootstrap
    debian_root "$1"
    # What apt may take from there later, in a build.
    [ ! -f /etc/apt/sources.list.d/debian.sources ] || [ -n "${SUITE:-}${MIRROR:-}" ] ||
        { cp /etc/apt/sources.list.d/debian.sources "$1/etc/apt/sources.list.d/" && rm -f "$1/etc/apt/sources.list"; }
}

[ $# -gt 0 ] || set -- busybox debian
check_machine
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for name in "$@"; do
    [ "$(type -t "make_$name")" = function ] || die "there is no $name; the images are: busybox, debian"
    echo "Making $repository:$name ..."
    "make_$name" "$work/$name"
    import_root "$work/$name" "$repository:$name" \
        --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
    rm -rf "${work:?}/$name"
done

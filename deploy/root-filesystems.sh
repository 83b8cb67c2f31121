# shellcheck shell=bash
# To be sourced: root file systems of this machine's or another Debian, made of Debian's packages alone.

# Debian's static busybox under all of its names. Argument: the folder.
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

# A small Debian. Arguments: the folder, further packages with commas between them, or nothing. SUITE is another than
# this machine's, MIRROR another place than this machine takes its packages from.
debian_root() {
    local root=$1 suite=${SUITE:-$(codename)} log
    log=$(mktemp)
    if ! debootstrap --variant=minbase --include="ca-certificates${2:+,$2}" "$suite" "$root" \
        "${MIRROR:-$(mirror)}" >"$log" 2>&1; then
        tail -n 20 "$log" "$root/debootstrap/debootstrap.log" >&2
        rm -f "$log"
        return 1
    fi
    rm -rf "$log" "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,locale,man}/* "$root"/var/log/*
}

codename() {
    # shellcheck source=/dev/null
    (. /etc/os-release && echo "$VERSION_CODENAME")
}

# Where this machine takes Debian's packages from.
mirror() {
    local found
    # shellcheck disable=SC2016
    found=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Codename: $(codename)" | head -n 1)
    echo "${found:-http://deb.debian.org/debian}"
}

# Arguments: the folder, the image's name, further options of docker import.
import_root() {
    local root=$1 name=$2
    shift 2
    tar -C "$root" --numeric-owner -c . | docker import "$@" - "$name" >/dev/null
}

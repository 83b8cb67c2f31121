"""Attempts to get out of a container, and the errno that must come back."""

from __future__ import annotations

import errno
import json

from tests.security.rows import Row, Weakness

# Whatever closes these rows is given up at once, but for what a machine need not have itself (SYS_RESOURCE).
CAPABILITIES = (
    "DAC_OVERRIDE", "DAC_READ_SEARCH", "KILL", "MKNOD", "NET_ADMIN", "NET_RAW", "SETGID", "SETUID", "SYSLOG",
    "SYS_ADMIN", "SYS_BOOT", "SYS_CHROOT", "SYS_MODULE", "SYS_NICE", "SYS_PACCT", "SYS_PTRACE", "SYS_RAWIO", "SYS_TIME",
)  # fmt: skip
NAKED = Weakness(
    "FILTER+UNPRIVILEGED",
    json.dumps(
        {
            "CapAdd": CAPABILITIES,
            "SecurityOpt": ["seccomp=unconfined", "apparmor=unconfined"],
            "ReadonlyRootfs": False,
            "MaskedPaths": [],
            "ReadonlyPaths": [],
        }
    ),
    "everything",
)
UNFILTERED = Weakness("FILTER")
NETWORK = Weakness(host='{"NetworkMode": "bridge"}')

PROFILE = "no capability; the engine's profile"
FILTER = "our filter"
NAMESPACE = "the container has no interface but its own loopback"

EPERM, ENOSYS, EAFNOSUPPORT = errno.EPERM, errno.ENOSYS, errno.EAFNOSUPPORT
CALLS = {
    "mount": (EPERM, PROFILE), "remount": (EPERM, PROFILE), "umount": (EPERM, PROFILE), "fsopen": (EPERM, PROFILE),
    "open_tree": (EPERM, PROFILE), "pivot_root": (EPERM, PROFILE), "chroot": (EPERM, PROFILE),
    "unshare-user": (EPERM, PROFILE), "unshare-mounts": (EPERM, PROFILE), "unshare-net": (EPERM, PROFILE),
    "clone-user": (EPERM, PROFILE), "setns": (EPERM, PROFILE), "sethostname": (EPERM, PROFILE),
    "mknod": (EPERM, PROFILE), "mknod-disk": (EPERM, PROFILE), "open_by_handle_at": (EPERM, PROFILE),
    "ptrace": (EPERM, FILTER), "kcmp": (EPERM, PROFILE), "keyctl": (EPERM, f"{PROFILE}; {FILTER}"),
    "add_key": (EPERM, f"{PROFILE}; {FILTER}"), "request_key": (EPERM, f"{PROFILE}; {FILTER}"),
    "bpf": (EPERM, PROFILE), "perf_event_open": (EPERM, PROFILE), "userfaultfd": (ENOSYS, FILTER),
    "io_uring_setup": (ENOSYS, FILTER), "init_module": (EPERM, PROFILE), "delete_module": (EPERM, PROFILE),
    "reboot": (EPERM, PROFILE), "swapon": (EPERM, PROFILE), "acct": (EPERM, PROFILE),
    "clock_settime": (EPERM, PROFILE), "syslog": (EPERM, PROFILE), "iopl": (EPERM, PROFILE),
    "setuid": (EPERM, "no capability"), "setgid": (EPERM, "no capability"), "setgroups": (EPERM, "no capability"),
    "nice": (errno.EACCES, "no capability"), "setrlimit": (EPERM, "no capability"),
    "sched_setscheduler": (EPERM, "no capability"),
    "raw": (EPERM, "no capability"), "packet": (EAFNOSUPPORT, FILTER), "vsock": (EAFNOSUPPORT, FILTER),
    "alg": (EAFNOSUPPORT, FILTER), "audit": (errno.EPROTONOSUPPORT, FILTER), "uevent": (errno.EPROTONOSUPPORT, FILTER),
    "shmget": (EPERM, FILTER), "semget": (EPERM, FILTER), "msgget": (EPERM, FILTER), "mq_open": (EPERM, FILTER),
}  # fmt: skip
# Refused on the machine that this was written on whatever is given up: without AF_ALG, SYS_RESOURCE, real-time groups.
EVER = {"setrlimit", "sched_setscheduler", "alg"}
CONTROLS = "another uid, no capability; read-only or covered"
FILES = {
    "write": ["/proc/sys/kernel/core_pattern", "/proc/irq/default_smp_affinity", "/etc/passwd", "/bin/busybox",
              "/.executor/agent", "/.script/script"],
    "create": ["/new", "/dev/new", "/.script/new"],
}  # fmt: skip
# Not on every machine, or read-only whatever is given up but for a privileged container.
RARE = [
    "/proc/sysrq-trigger", "/proc/sys/kernel/modprobe", "/sys/kernel/uevent_helper", "/sys/kernel/rcu_expedited",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/cgroup.procs", "/sys/fs/cgroup/cgroup.procs",
    "/dev/mem", "/dev/kmsg",
]  # fmt: skip
SECRET = ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/kmsg", "/sys/firmware/dmi/tables/DMI"]
REFUSED = f"grep -x -e {errno.EACCES} -e {errno.EROFS} -e {errno.EPERM} -e {errno.ENOENT} >/dev/null && echo refused"
NETWORKS = ["internet", "metadata", "bridge", "datagram", "broadcast", "multicast"]


def weakness(call: str, closed: str) -> Weakness | None:
    """What to leave out to see a call allowed, or refused in another way."""
    if call in EVER:
        return None
    return UNFILTERED if closed == FILTER else NAKED


ROWS = [
    Row(
        "identity",
        "capabilities (inheritable, permitted, effective, ambient), no-new-privileges, groups",
        "read back by the agent before it starts a script",
        "grep -E '^(CapInh|CapPrm|CapEff|CapAmb|NoNewPrivs|Groups):' /proc/self/status | cut -f2 | tr -d ' '",
        "\n" + f"{0:016x}\n" * 4 + "1",
        Weakness("UNPRIVILEGED"),
    ),
    *(
        Row(f"call-{name}", name, by, f"attempt {name}", str(number), weakness(name, by))
        for name, (number, by) in CALLS.items()
    ),
    Row("call-clone3", "clone3, whose flags no filter sees", "the engine's profile", "attempt clone3", str(ENOSYS)),
    *(
        Row(f"call-{kind}", what, FILTER, f"exec attempt {kind}", "signaled", UNFILTERED)
        for kind, what in [("other-kind-32", "a call by the 32-bit gate"), ("other-kind-x32", "a call of the x32 kind")]
    ),
    *(
        Row(f"{how}-{path}", f"{how} {path}", CONTROLS, f"attempt {how} {path} | {REFUSED}", "refused", NAKED)
        for how, paths in FILES.items()
        for path in paths
    ),
    *(Row(f"write-{path}", f"write {path}", CONTROLS, f"attempt write {path} | {REFUSED}", "refused") for path in RARE),
    *(Row(f"read-{path}", f"read {path}", CONTROLS, f"head -c 1 {path} 2>/dev/null | wc -c", "0") for path in SECRET),
    Row("setuid-program", "a set-user-id program", "no-new-privileges", "attempt-as-root root", str(EPERM)),
    *(
        Row(f"network-{name}", f"network: {name}", NAMESPACE, f"attempt {name}", str(errno.ENETUNREACH), NETWORK)
        for name in NETWORKS
    ),
    Row("network-ipv6", "network: IPv6", NAMESPACE, "attempt internet-6", str(errno.EADDRNOTAVAIL)),
]

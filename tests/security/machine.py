"""A small virtual machine with an engine on cgroup version 2, made of this Debian's own packages.

Its processor is emulated, so all in it is some ten times slower.
"""

from __future__ import annotations

import gzip
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.engine.server_process import free_port, wait_until

KERNEL = "linux-image-cloud-amd64"
MODULES = ("virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "failover",
           "net_failover", "virtio_net", "overlay")  # fmt: skip
PROGRAMS = ("dockerd", "containerd", "containerd-shim-runc-v2", "runc", "docker-init", "busybox")
MEMORY = "3072"  # MiB
PATIENCE = 300.0  # seconds until its engine answers

# Without a cgroup of its own the first process keeps the root from handing controllers on (cgroups(7)).
INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin DOCKER_RAMDISK=true
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
for place in /tmp /run /var/lib/docker; do mount -t tmpfs tmpfs $place; done
for module in %s; do insmod /modules/$module.ko; done
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir /sys/fs/cgroup/init
echo $$ >/sys/fs/cgroup/init/cgroup.procs
echo "+memory +pids +cpu +io +cpuset" >/sys/fs/cgroup/cgroup.subtree_control
ip link set lo up
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
exec dockerd -H tcp://0.0.0.0:2375 --tls=false --bridge=none --iptables=false --ip6tables=false --ip-forward=false
"""


@contextmanager
def machine(folder: Path) -> Iterator[str]:
    """A running one.  @param folder: empty, for its files.  @return: the url of its engine."""
    kernel = _kernel(folder / "kernel")
    image = folder / "initramfs.gz"
    image.write_bytes(gzip.compress(_archive(_root(folder / "root", kernel)), 1))
    port = free_port()
    console = (folder / "console.log").open("wb")
    process = subprocess.Popen(
        [
            "qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", MEMORY, "-nographic", "-no-reboot",
            "-kernel", next(kernel.glob("boot/vmlinuz-*")), "-initrd", image,
            "-append", "console=ttyS0 quiet rdinit=/init",
            "-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:2375",
            "-device", "virtio-net-pci,netdev=net",
        ],
        stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        wait_until(lambda: _answers(port), "the engine in the virtual machine", PATIENCE)
        yield f"tcp://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()
        console.close()


def _answers(port: int) -> bool:
    """Whether an engine does; the port of the machine is open from the first moment on."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b"200 OK" in connection.recv(4096)
    except OSError:
        return False


def _kernel(folder: Path) -> Path:
    """Debian's kernel for virtual machines, unpacked and not installed."""
    folder.mkdir()
    depends = subprocess.run(["apt-cache", "depends", KERNEL], capture_output=True, text=True, check=True).stdout
    name = re.search(r"Depends: (linux-image-\S+)", depends)
    assert name, depends
    subprocess.run(["apt-get", "download", "-qq", name[1]], cwd=folder, capture_output=True, check=True)
    subprocess.run(["dpkg-deb", "-x", next(folder.glob("*.deb")), folder], check=True)
    return folder


def _root(root: Path, kernel: Path) -> Path:
    """The files of the machine: busybox, the engine with its libraries, and modules."""
    for name in ("bin", "dev", "etc", "modules", "proc", "run", "sys", "tmp", "var/lib/docker"):
        (root / name).mkdir(parents=True)
    (root / "etc/passwd").write_text("root:x:0:0:root:/:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    for name in PROGRAMS:
        program = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
        assert program, f"{name} is not installed"
        shutil.copy(program, root / "bin" / name)
        for library in _libraries(program):
            (root / library.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, root / library.lstrip("/"))
    for name in MODULES:
        found = list(kernel.glob(f"lib/modules/*/kernel/**/{name}.ko"))
        if found:  # else it is in the kernel
            shutil.copy(found[0], root / "modules" / f"{name}.ko")
    (root / "init").write_text(INIT % " ".join(name for name in MODULES if (root / f"modules/{name}.ko").exists()))
    (root / "init").chmod(0o755)
    return root


def _libraries(program: str) -> list[str]:
    """What the loader finds for it, the loader included; nothing for a static one."""
    told = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return re.findall(r"(/\S+) \(0x", told)


def _archive(root: Path) -> bytes:
    """All files as a "newc" cpio archive (the kernel's Documentation/driver-api/early-userspace/buffer-format.rst)."""
    parts = []
    for path in sorted(root.rglob("*")):
        data = path.read_bytes() if path.is_file() else b""
        parts.append(_member(str(path.relative_to(root)), path.stat().st_mode, data))
    return b"".join([*parts, _member("TRAILER!!!", 0, b"")])


def _member(name: str, mode: int, data: bytes) -> bytes:
    fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)

"""After a run nothing of it is left; where something is, the agent says so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.agent.harness import Agent

LEFT = {
    "a file": "echo x >/tmp/a; echo x >/dev/shm/a",
    "a hidden file": "touch /tmp/.a /tmp/..a /tmp/...",
    "a file without permissions": "touch /tmp/a; chmod 0 /tmp/a",
    "a read-only folder": "mkdir /tmp/a; touch /tmp/a/b; chmod 500 /tmp/a",
    "folders without permissions": "mkdir -p /tmp/a/b/c/d; touch /tmp/a/b/c/d/e; chmod 0 /tmp/a/b/c/d /tmp/a/b/c"
    " /tmp/a/b; chmod 0 /tmp/a",
    "odd modes": "mkdir /tmp/a /tmp/b; touch /tmp/a/x /tmp/b/x; chmod 7777 /tmp/a; chmod 1000 /tmp/b",
    "odd names": "cd /tmp; touch 'a b' '*' '-rf' '\\' \"$(printf 'new\\nline')\" \"$(printf '\\377\\001')\";"
    ' mkdir "$(printf "x%.0s" $(seq 255))"; touch "$(printf "x%.0s" $(seq 255))/$(printf "y%.0s" $(seq 255))"',
    "names of the wipe's own": "cd /tmp; for i in $(seq 0 40); do mkdir -p .wipe$i/a/b; touch .wipe$i/a/b/c; done",
    "a deep tree": "cd /tmp; /bin/probe deep 1000 d; touch a d/a d/d/a",
    "a deep tree of long names": 'cd /tmp; /bin/probe deep 100 "$(printf "x%.0s" $(seq 255))"',
    "a deep tree without permissions": "cd /tmp; for i in $(seq 300); do mkdir d; cd d; done;"
    " for i in $(seq 300); do cd ..; chmod 0 d; done",
    "a wide tree": "cd /tmp; mkdir $(seq 300); for i in $(seq 300); do mkdir $i/a $i/b; done; touch $(seq 1000 4000)",
    "a FIFO": "mkfifo /tmp/a; mkdir /tmp/b; mkfifo /tmp/b/c",
    "a socket": "/bin/probe socket /tmp/a; test -S /tmp/a",
    "a FIFO that is open": "mkfifo /tmp/a; (exec 3<>/tmp/a; sleep 99) & sleep 0.05",
    "symlinks": "cd /tmp; ln -s / a; ln -s /etc b; ln -s /etc/precious c; ln -s nowhere d; ln -s . e; mkdir f;"
    " ln -s /etc/precious f/g; ln -s /dev/shm f/h",
    "hard links": "cd /tmp; echo x >a; mkdir b; for i in $(seq 50); do ln a b/$i; done",
    "a full disk": "dd if=/proc/self/exe of=/tmp/a 2>/dev/null; i=0; while cp /tmp/a /tmp/a$i 2>/dev/null; do"
    " i=$((i+1)); done; test $i -gt 5",
    "files that are open": "exec 3>/tmp/a; rm /tmp/a; (cd /tmp; mkdir b; cd b; sleep 99) & sleep 0.05",
    "a folder that is removed": "mkdir /tmp/a; cd /tmp/a; rmdir /tmp/a",
    "a working folder": "mkdir -p /tmp/a/b; cd /tmp/a/b; chmod 0 /tmp/a; sleep 99 & sleep 0.01",
    "a read-only file": "touch /tmp/a; chmod 400 /tmp/a; exec 3</tmp/a",
    "the top's own mode": "chmod 755 /tmp; rmdir /tmp; touch /tmp/a; true",
}


@pytest.mark.parametrize("script", LEFT.values(), ids=LEFT)
def test_nothing_is_left(box: Agent, script: str) -> None:
    """Whatever a script leaves, it is gone before the next one, and what its links point to is untouched."""
    run = box.run(f"umask 0\n{script}", timeout=20)
    assert run.code == 0, run.stderr
    assert run.wiped.clean, run.wiped.reason
    assert os.listdir(box.files / "tmp") == os.listdir(box.files / "dev/shm") == []
    assert os.listdir(box.files / ".script") == []
    assert (box.files / "etc/precious").read_text() == "precious\n"
    assert (box.files / "tmp").stat().st_mode & 0o7777 == 0o1777
    assert box.run("ls -A /tmp /dev/shm").stdout == b"/dev/shm:\n\n/tmp:\n"


def test_after_a_kill(box: Agent) -> None:
    """A run that was in the middle of writing is wiped as any other."""
    script = "while :; do mkdir -p /tmp/$((i+=1))/a; chmod 0 /tmp/$i/a; done & while :; do touch /tmp/x$((i+=1)); done"
    run = box.run(script, timeout=0.3)
    assert run.wiped.clean
    assert os.listdir(box.files / "tmp") == []


def foreign_file(box: Agent) -> None:
    (box.files / "tmp/foreign").touch()


def foreign_folder(box: Agent) -> None:
    (box.files / "tmp/foreign").mkdir()


def foreign_in_shared_memory(box: Agent) -> None:
    (box.files / "dev/shm/foreign").touch()


def foreign_in_a_folder_of_the_run(box: Agent) -> None:
    (box.files / "tmp/mine/foreign").mkdir()
    (box.files / "tmp/mine/foreign/file").touch()


@pytest.mark.parametrize(
    ("plant", "place"),
    [
        (foreign_file, "/tmp"),
        (foreign_folder, "/tmp"),
        (foreign_in_shared_memory, "/dev/shm"),
        (foreign_in_a_folder_of_the_run, "/tmp"),
    ],
)
def test_dirty(box: Agent, plant, place: str) -> None:  # type: ignore[no-untyped-def]
    """What is not the run's own cannot be removed with its rights: the agent says where something is left."""
    number = box.start("mkdir /tmp/mine; echo on; read x")
    box.output(b"on\n")
    plant(box)
    run = box.finish(number)
    assert not run.wiped.clean
    assert run.wiped.reason == f"{place} is not empty"


def test_what_the_wipe_cannot_look_into(box: Agent) -> None:
    """The last look is root's own; a script that is gone from its place is told as well."""
    number = box.start("echo on; read x")
    box.output(b"on\n")
    (box.files / ".script/script").unlink()
    assert box.finish(number).wiped.reason == "the script stays"


VOLUMES = """
mkdir -p tmp/way/inner dev/odd 'dev/odd/a, b\\c'
mount -t tmpfs -o mode=755 inner tmp/way/inner
mount -t tmpfs -o mode=755 data data
mount -t tmpfs -o mode=1777 odd 'dev/odd/a, b\\c'
mount -t mqueue mqueue dev/mqueue 2>/dev/null || { mkdir dev/mqueue; mount -t mqueue mqueue dev/mqueue; }
chmod 1777 dev/mqueue
"""


def test_volumes(root: Path) -> None:
    """Every place that runs can write to is wiped, also one in another and one with an odd name; mounts stay."""
    with Agent(root, "/bin/agent", "/tmp", "/tmp/way/inner", "/data", setup=VOLUMES) as box:
        writable = box.hello().facts["writable"].split(",")
        assert set(writable) == {
            "/dev/shm",
            "/tmp",
            "/tmp/way/inner",
            "/data",
            "/dev/odd/a\\054\\040b\\134c",
            "/dev/mqueue",
        }
        places = ("/tmp", "/tmp/way/inner", "/data", "/dev/odd/a, b\\c", "/dev/shm")
        script = (
            'for place; do mkdir -p "$place/x/y" && echo x >"$place/x/y/z"; done; : >/dev/mqueue/queue; ls /dev/mqueue'
        )
        run = box.run(script, args=tuple(place.encode() for place in places))
        assert (run.stdout, run.stderr) == (b"queue\n", b"")
        assert run.wiped.clean, run.wiped.reason
        for place in places[1:]:
            assert os.listdir(box.files / place[1:]) == []
        assert os.listdir(box.files / "tmp") == ["way"]
        assert os.listdir(box.files / "dev/mqueue") == []
        assert box.run("echo x >/tmp/way/file || echo refused").stdout == b"refused\n"


def test_more_mounts_than_it_knows(root: Path) -> None:
    """Where it could not wipe all places it does not begin."""
    setup = "for i in $(seq 70); do mkdir -p dev/m/$i; mount -t tmpfs -o mode=1777 m dev/m/$i; done"
    with Agent(root, setup=setup) as box:
        assert box.exit_code() == 70


def test_a_mount_with_a_long_name(root: Path) -> None:
    """Nor where a place has a name that is longer than it can hold."""
    setup = "n=dev/$(printf 'x%.0s' $(seq 200)); n=$n/a/$n/b/$n; mkdir -p $n; mount -t tmpfs -o mode=1777 long $n"
    with Agent(root, setup=setup) as box:
        assert box.exit_code() == 70


def test_more_mounts_than_it_reads(root: Path) -> None:
    """Nor where the kernel's list is longer than it can hold, as the last of it would be forgotten."""
    setup = "n=dev/$(printf 'x%.0s' $(seq 200)); mkdir $n;" + (
        "for i in $(seq 200); do mkdir $n/$i; mount --bind $n/$i $n/$i; done; mount -o remount,mode=1777 dev/shm"
    )
    with Agent(root, setup=setup) as box:
        assert box.exit_code() == 70

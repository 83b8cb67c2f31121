"""What the end of a run means."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from twisted_executor.boundaries import Job, Outcome, Status
from twisted_executor.verdict import outcome, unfinished
from twisted_executor.wire import (
    CANCELLED,
    EXITED,
    OUTPUT_LIMIT,
    STAGE_EXEC,
    STAGE_RUN,
    TIMED_OUT,
    End,
)

JOB = Job(b"echo hi", 1.5, "r")
ENDED_WELL = End(7, EXITED, STAGE_RUN, 0, 0, 0, 3, 4, 0.25, 0.125, 4096)


def exited(code: int) -> int:
    """The wait status of a process that exited."""
    return code << 8


def of(end: End, job: Job = JOB) -> Outcome:
    return outcome(end, job, b"out", b"err", 800)


def test_ended_well() -> None:
    """Everything that the agent counted is in the outcome, and there is no error."""
    assert of(ENDED_WELL) == Outcome(
        status=Status.OK,
        exit_code=0,
        signal=None,
        stdout=b"out",
        stderr=b"err",
        stdout_bytes=3,
        stderr_bytes=4,
        execution_time=0.25,
        oom_kills=0,
        cpu_time=0.125,
        memory_peak=4096,
        error=None,
    )


@pytest.mark.parametrize("code", [1, 2, 124, 126, 127, 137, 143, 255])
def test_exit_codes(code: int) -> None:
    """A code is told as it is; nothing is guessed from one that looks like a signal or a timeout."""
    found = of(replace(ENDED_WELL, wait_status=exited(code)))
    assert (found.status, found.exit_code, found.signal) == (Status.NONZERO_EXIT, code, None)
    assert found.error == f"The script exited with code {code}."


@pytest.mark.parametrize(
    ("number", "name"),
    [(1, "SIGHUP"), (6, "SIGABRT"), (9, "SIGKILL"), (11, "SIGSEGV"), (15, "SIGTERM"), (31, "SIGSYS")],
)
@pytest.mark.parametrize("core", [0, 128])
def test_signals(number: int, name: str, core: int) -> None:
    """A death by a signal is 128 and its number, with its name, whether a core was written or not."""
    found = of(replace(ENDED_WELL, wait_status=number | core))
    assert (found.status, found.exit_code, found.signal) == (Status.SIGNALED, 128 + number, name)
    assert found.error == f"The script was killed by {name}."


def test_signal_without_name() -> None:
    """A real-time signal between the named ones has its number for a name."""
    found = of(replace(ENDED_WELL, wait_status=40))
    assert (found.exit_code, found.signal) == (168, "SIG40")


EVERYTHING = replace(ENDED_WELL, oom_kills=1, wait_status=9)


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (replace(EVERYTHING, cause=CANCELLED), Status.CANCELLED),
        (replace(EVERYTHING, cause=TIMED_OUT), Status.TIMEOUT),
        (replace(EVERYTHING, cause=OUTPUT_LIMIT), Status.OUTPUT_LIMIT),
        (EVERYTHING, Status.OUT_OF_MEMORY),
        (replace(EVERYTHING, wait_status=exited(1)), Status.OUT_OF_MEMORY),
        (replace(EVERYTHING, oom_kills=0), Status.SIGNALED),
        (replace(EVERYTHING, oom_kills=0, wait_status=exited(3)), Status.NONZERO_EXIT),
        (replace(EVERYTHING, wait_status=exited(0)), Status.OK),
        (ENDED_WELL, Status.OK),
    ],
)
def test_order(end: End, status: Status) -> None:
    """Where several things are true the first of the list is told; a run that ended well is well."""
    assert of(end).status is status
    assert of(end).oom_kills == end.oom_kills


@pytest.mark.parametrize("cause", [CANCELLED, TIMED_OUT, OUTPUT_LIMIT])
def test_ended_by_us_after_success(cause: int) -> None:
    """A run that was ended is not well, even when its main process had just exited with 0."""
    assert of(replace(ENDED_WELL, cause=cause)).status is not Status.OK


@pytest.mark.parametrize(
    ("end", "sentence"),
    [
        (replace(EVERYTHING, cause=CANCELLED), "The run was cancelled."),
        (replace(EVERYTHING, cause=TIMED_OUT), "The script ran longer than its limit of 1.5 seconds and was ended."),
        (
            replace(EVERYTHING, cause=OUTPUT_LIMIT),
            "The script wrote 800 bytes to one stream, which is too much, and was ended.",
        ),
        (EVERYTHING, "The script needed more memory than it may have and was killed."),
    ],
)
def test_sentences(end: End, sentence: str) -> None:
    """Each end that is not well has its sentence."""
    assert of(end).error == sentence


@pytest.mark.parametrize(("timeout", "text"), [(1, "1 second"), (0.25, "0.25 seconds"), (30.0, "30 seconds")])
def test_time_limit_in_words(timeout: float, text: str) -> None:
    """The limit is told as a person writes it."""
    found = of(replace(EVERYTHING, cause=TIMED_OUT), replace(JOB, timeout=timeout))
    assert found.error == f"The script ran longer than its limit of {text} and was ended."


@pytest.mark.parametrize(
    ("script", "number", "sentence"),
    [
        (
            b"echo hi",
            errno.ENOENT,
            'The image has no /bin/sh; begin the script with "#!" and an interpreter that the image has.',
        ),
        (b"echo hi", errno.EACCES, "/bin/sh cannot be started: Permission denied."),
        (
            b"#!/bin/sh\r\necho hi\r\n",
            errno.ENOENT,
            "The script's first line ends with a carriage return: save the script with Unix line endings.",
        ),
        (
            b"#! /usr/bin/python9 -u\nx",
            errno.ENOENT,
            "The interpreter '/usr/bin/python9' of the script's first line does not exist in the image.",
        ),
        (
            b"#!/etc/passwd",
            errno.EACCES,
            "The interpreter '/etc/passwd' of the script's first line cannot be started: Permission denied.",
        ),
        (
            b"#!\nx",
            errno.ENOEXEC,
            "The interpreter '' of the script's first line cannot be started: Exec format error.",
        ),
        (
            b"#!/\xff\n",
            errno.ENOENT,
            "The interpreter '/\ufffd' of the script's first line does not exist in the image.",
        ),
    ],
)
def test_script_that_does_not_start(script: bytes, number: int, sentence: str) -> None:
    """A script that cannot be started says why; its code is what a shell would show."""
    code = 127 if number == errno.ENOENT else 126
    end = replace(ENDED_WELL, stage=STAGE_EXEC, errno=number, wait_status=exited(code))
    found = of(end, replace(JOB, script=script))
    assert (found.status, found.exit_code, found.error) == (Status.NONZERO_EXIT, code, sentence)


def test_long_interpreter() -> None:
    """The name of an interpreter is told up to 200 characters."""
    end = replace(ENDED_WELL, stage=STAGE_EXEC, errno=errno.ENOENT, wait_status=exited(127))
    found = of(end, replace(JOB, script=b"#!/" + b"x" * 5000))
    assert found.error == f"The interpreter '/{'x' * 199}' of the script's first line does not exist in the image."


@pytest.mark.parametrize(
    ("status", "oom_kills", "sentence"),
    [
        (Status.TIMEOUT, 0, "The script ran longer than its limit of 1.5 seconds and was ended."),
        (Status.OUT_OF_MEMORY, 1, "The script needed more memory than it may have and was killed."),
    ],
)
def test_unfinished(status: Status, oom_kills: int, sentence: str) -> None:
    """A run whose container had to be killed has the output so far, and no numbers that nobody took."""
    assert unfinished(status, JOB, b"out", b"error", 2.5, 6) == Outcome(
        status=status,
        exit_code=137,
        signal="SIGKILL",
        stdout=b"out",
        stderr=b"error",
        stdout_bytes=3,
        stderr_bytes=5,
        execution_time=2.5,
        oom_kills=oom_kills,
        cpu_time=None,
        memory_peak=None,
        error=sentence,
    )


def test_unfinished_and_cut() -> None:
    """With as much output as is kept it was cut, though nobody can say any more by how much."""
    found = unfinished(Status.TIMEOUT, JOB, b"0123", b"012", 2.5, 4)
    assert (found.stdout_bytes > len(found.stdout), found.stderr_bytes > len(found.stderr)) == (True, False)

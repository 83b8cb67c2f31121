"""What the end of a run means, in the client's words.  Pure."""

from __future__ import annotations

import errno
import os
import signal

from twisted_executor.boundaries import Job, Outcome, Status
from twisted_executor.wire import CANCELLED, OUTPUT_LIMIT, STAGE_EXEC, TIMED_OUT, End

_CAUSES = {CANCELLED: Status.CANCELLED, TIMED_OUT: Status.TIMEOUT, OUTPUT_LIMIT: Status.OUTPUT_LIMIT}


def outcome(end: End, job: Job, stdout: bytes, stderr: bytes, output_end: int) -> Outcome:
    """The outcome of a run that the agent ended.

    @param output_end: bytes of one stream at which the run is ended.
    """
    number = os.WTERMSIG(end.wait_status) if os.WIFSIGNALED(end.wait_status) else 0
    code = 128 + number if number else os.WEXITSTATUS(end.wait_status)
    status = _status(end, code, number)
    return Outcome(
        status=status,
        exit_code=code,
        signal=_signal_name(number) if number else None,
        stdout=stdout,
        stderr=stderr,
        stdout_bytes=end.stdout_bytes,
        stderr_bytes=end.stderr_bytes,
        execution_time=end.wall,
        oom_kills=end.oom_kills,
        cpu_time=end.cpu,
        memory_peak=end.memory_peak,
        error=_exec_error(end.errno, job.script)
        if end.stage == STAGE_EXEC
        else _error(status, code, number, job, output_end),
    )


def unfinished(status: Status, job: Job, stdout: bytes, stderr: bytes, elapsed: float, kept: int) -> Outcome:
    """The outcome of a run that the agent could not end: the container was killed, or its memory ran out.

    @param status: TIMEOUT or OUT_OF_MEMORY.  @param elapsed: seconds on the server's clock.

    @param kept: bytes of a stream that are kept at most: with so many it was cut, and only the agent knew by how much.
    """
    return Outcome(
        status=status,
        exit_code=128 + signal.SIGKILL,
        signal="SIGKILL",
        stdout=stdout,
        stderr=stderr,
        stdout_bytes=len(stdout) + (len(stdout) >= kept),
        stderr_bytes=len(stderr) + (len(stderr) >= kept),
        execution_time=elapsed,
        oom_kills=1 if status is Status.OUT_OF_MEMORY else 0,
        cpu_time=None,
        memory_peak=None,
        error=_error(status, 128 + signal.SIGKILL, signal.SIGKILL, job, 0),
    )


def _status(end: End, code: int, number: int) -> Status:
    if end.cause in _CAUSES:
        return _CAUSES[end.cause]
    if end.oom_kills and code != 0:
        return Status.OUT_OF_MEMORY
    if number:
        return Status.SIGNALED
    return Status.NONZERO_EXIT if code else Status.OK


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"SIG{number}"


def _error(status: Status, code: int, number: int, job: Job, output_end: int) -> str | None:
    match status:
        case Status.OK:
            return None
        case Status.NONZERO_EXIT:
            return f"The script exited with code {code}."
        case Status.SIGNALED:
            return f"The script was killed by {_signal_name(number)}."
        case Status.OUT_OF_MEMORY:
            return "The script needed more memory than it may have and was killed."
        case Status.OUTPUT_LIMIT:
            return f"The script wrote {output_end} bytes to one stream, which is too much, and was ended."
        case Status.TIMEOUT:
            return f"The script ran longer than its limit of {_seconds(job.timeout)} and was ended."
        case Status.CANCELLED:
            return "The run was cancelled."


def _seconds(seconds: float) -> str:
    return f"{seconds:g} second" + ("" if seconds == 1 else "s")


def _exec_error(number: int, script: bytes) -> str:
    """Why the script did not start."""
    first = script.split(b"\n", 1)[0]
    if not first.startswith(b"#!"):
        if number == errno.ENOENT:
            return 'The image has no /bin/sh; begin the script with "#!" and an interpreter that the image has.'
        return f"/bin/sh cannot be started: {os.strerror(number)}."
    if first.endswith(b"\r"):
        return "The script's first line ends with a carriage return: save the script with Unix line endings."
    words = first[2:].split()
    name = words[0].decode("utf-8", "replace")[:200] if words else ""
    if number == errno.ENOENT:
        return f"The interpreter {name!r} of the script's first line does not exist in the image."
    return f"The interpreter {name!r} of the script's first line cannot be started: {os.strerror(number)}."

"""Requests and answers as JSON.  Pure."""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from twisted_executor.boundaries import Execution, HealthReport, Job, PoolStats, Status, Tenant
from twisted_executor.errors import ExecutorError, ImageNotAllowed, InvalidRequest
from twisted_executor.images import canonical

MOST_STRINGS = 1 << 20  # bytes of args and env together: the kernel's limit is a quarter of the stack, 2 MiB here
STRING_COST = 9  # bytes that the kernel counts for each beside its text: its zero and its pointer
MOST_COUNT = MOST_STRINGS // STRING_COST
# In a body: four for each variable, as most names that differ are of two bytes at least, and those of the fields.
MOST_QUOTES = 4 * (MOST_STRINGS // (STRING_COST + 3)) + 64
MOST_STRING = 128 << 10  # bytes of one of them, its zero included: MAX_ARG_STRLEN, execve(2)
MOST_TENANT = 128  # characters


class Request(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /execute.  null is the same as absent; of a field that is there twice the last counts."""

    script: str | None = None
    stdin: str | None = None
    image: str | None = None
    args: list[str] | None = None
    env: dict[str, str] | None = None
    timeout: float | None = None
    tenant: str | None = None


class Answer(msgspec.Struct):
    """The answer to a script that ran: the README's six keys first."""

    success: bool
    stdout: str
    stderr: str
    exit_code: int | None
    execution_time: float
    error: str | None
    status: str
    signal: str | None
    stdout_truncated: bool
    stderr_truncated: bool
    stdout_bytes: int
    stderr_bytes: int
    oom_kills: int
    cpu_time: float | None
    memory_peak: int | None
    queue_time: float
    warm: bool
    image: str
    request_id: str


class Refusal(msgspec.Struct, omit_defaults=True):
    """The answer to everything else: the same six keys, and a code."""

    # Without defaults these six are always there.
    success: bool
    stdout: str
    stderr: str
    exit_code: int | None
    execution_time: float
    error: str
    code: str
    request_id: str
    incident: str | None = None


@dataclass(frozen=True, slots=True)
class JobRules:
    """What a request may ask for.

    @ivar timeout: the longest, and that of a request that names none; seconds.
    @ivar allowed: canonical references; empty: any image.
    """

    timeout: float
    allowed: frozenset[str]


_decoder = msgspec.json.Decoder(Request)
_encode = msgspec.json.Encoder().encode
_FIELDS = ", ".join(Request.__struct_fields__)


def decode_job(body: bytes, rules: JobRules, request_id: str, key: str, traceparent: str = "") -> Job:
    """The job in a request's body.

    @param key: the name of the API key, empty without keys.
    @param traceparent: the trace that the request belongs to, empty without one.
    @raise InvalidRequest: it is malformed or asks for what cannot be; says what would be right.
    @raise ImageNotAllowed: the image is not among those that are.
    """
    if not body:
        raise InvalidRequest('The request has no body; send JSON such as {"script": "echo hi"}.')
    # Each string of JSON begins with a quote that no backslash stands before.
    if body.count(b'"') - body.count(b'\\"') > MOST_QUOTES:
        raise InvalidRequest(f'The body has too many strings; {MOST_COUNT} in "args" and "env" are the most.')
    request = _decoded(body)
    if not request.script:
        raise InvalidRequest('"script" is missing or empty; it must be the text of a script.')
    args, env = _args_and_env(request.args or [], request.env or {})
    return Job(
        script=_bytes("script", request.script),
        stdin=_bytes("stdin", request.stdin or ""),
        args=args,
        env=env,
        timeout=_timeout(request.timeout, rules.timeout),
        image=_image(request.image, rules.allowed),
        tenant=Tenant(key, _tenant(request.tenant or "")),
        request_id=request_id,
        traceparent=traceparent,
    )


def _decoded(body: bytes) -> Request:
    try:
        return _decoder.decode(body)
    except msgspec.ValidationError as error:
        # The sentence names what the client wrote, which may be long.
        sentence = str(error) if len(str(error)) <= 200 else str(error)[:197] + "..."
        hint = f" The fields are: {_FIELDS}." if "unknown field" in sentence else ""
        raise InvalidRequest(f"The request is not understood: {sentence}.{hint}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        hint = " A \\ud800 to \\udfff escape must be half of a pair." if b"\\ud" in body.lower() else ""
        raise InvalidRequest(f"The body is not JSON: {error}.{hint}") from error


def _bytes(name: str, text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidRequest(f'"{name}" holds half of a surrogate pair, which is no character.') from None


def _joined(name: str, texts: Iterable[str], count: int) -> bytes:
    """All as bytes, with zeros between.  One by one they would hold the event loop for a tenth of a second."""
    whole = _bytes(name, "\0".join(texts))
    if whole.count(b"\0") != max(0, count - 1):
        raise InvalidRequest(f'"{name}" holds a NUL character, which no argument or variable can.')
    return whole


def _strings(name: str, whole: bytes, count: int) -> tuple[bytes, ...]:
    """What was joined."""
    strings = tuple(whole.split(b"\0")) if count else ()
    if max(map(len, strings), default=0) >= MOST_STRING:
        raise InvalidRequest(f'A value in "{name}" is longer than {MOST_STRING - 1} bytes, which no program can get.')
    return strings


def _args_and_env(args: list[str], env: dict[str, str]) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    if "" in env or "=" in "".join(env):
        raise InvalidRequest('A name in "env" is empty or holds "=".')
    _check_count(args, env)
    all_args = _joined("args", args, len(args))
    all_env = _joined("env", map("=".join, env.items()), len(env))
    _check_total(len(args) + len(env), len(all_args) + len(all_env) + bool(args) + bool(env))
    return _strings("args", all_args, len(args)), _strings("env", all_env, len(env))


def _check_count(args: list[str], env: dict[str, str]) -> None:
    """Before each of them is looked at."""
    count = len(args) + len(env)
    if count > MOST_COUNT:
        raise InvalidRequest(f'"args" and "env" are {count} strings together; {MOST_COUNT} are the most.')


def _check_total(count: int, text: int) -> None:
    """@param text: bytes of all strings, with a zero after each."""
    total = (STRING_COST - 1) * count + text
    if total > MOST_STRINGS:
        raise InvalidRequest(
            f'"args" and "env" are {total} bytes together, with {STRING_COST} for each string beside its text; '
            f"{MOST_STRINGS} is the most."
        )


def _timeout(timeout: float | None, most: float) -> float:
    if timeout is None:
        return most
    if not 0 < timeout <= most:
        raise InvalidRequest(f'"timeout" must be above 0 and at most {most:g} seconds, the TIMEOUT of this server.')
    return timeout


def _image(image: str | None, allowed: frozenset[str]) -> str | None:
    if image is None:
        return None
    reference = canonical(image)
    if allowed and reference not in allowed:
        raise ImageNotAllowed(f"The image {image} is not one that this server runs; GET /images lists them.")
    return image


def _tenant(tenant: str) -> str:
    if len(tenant) > MOST_TENANT:
        raise InvalidRequest(f'"tenant" is longer than {MOST_TENANT} characters.')
    _bytes("tenant", tenant)
    return tenant


def encode_execution(execution: Execution) -> bytes:
    """The answer to a script that ran."""
    outcome = execution.outcome
    stdout_cut = outcome.stdout_bytes > len(outcome.stdout)
    stderr_cut = outcome.stderr_bytes > len(outcome.stderr)
    return _encode(
        Answer(
            success=outcome.status is Status.OK,
            stdout=_text(outcome.stdout, stdout_cut),
            stderr=_text(outcome.stderr, stderr_cut),
            exit_code=outcome.exit_code,
            execution_time=round(outcome.execution_time, 6),
            error=outcome.error,
            status=outcome.status.value,
            signal=outcome.signal,
            stdout_truncated=stdout_cut,
            stderr_truncated=stderr_cut,
            stdout_bytes=outcome.stdout_bytes,
            stderr_bytes=outcome.stderr_bytes,
            oom_kills=outcome.oom_kills,
            cpu_time=outcome.cpu_time,
            memory_peak=outcome.memory_peak,
            queue_time=round(execution.queue_time, 6),
            warm=execution.warm,
            image=execution.image,
            request_id=execution.request_id,
        )
    )


def _text(data: bytes, cut: bool) -> str:
    """As UTF-8; of a text that was cut an incomplete last character is left out, at a true end it is U+FFFD."""
    return codecs.getincrementaldecoder("utf-8")("replace").decode(data, final=not cut)


def encode_refusal(error: ExecutorError, request_id: str, incident: str | None = None) -> bytes:
    """The answer to a request that did not run to an outcome."""
    return _encode(Refusal(False, "", "", None, 0.0, str(error), error.code, request_id, incident))


def encode_report(report: HealthReport) -> bytes:
    """The answer of /health."""
    canary = report.canary
    return _encode(
        {
            "status": report.status,
            "reasons": report.reasons,
            "advice": report.advice,
            "pools": {pool.image: _pool(pool) for pool in report.pools},
            "canary": canary
            and {
                "image": canary.image,
                "result": canary.result,
                "seconds": round(canary.seconds, 6),
                "age": round(canary.age, 1),
                "since_ok": None if canary.since_ok is None else round(canary.since_ok, 1),
            },
        }
    )


def _pool(pool: PoolStats) -> dict[str, object]:
    demand = pool.demand
    return {
        "pool_size": pool.target,
        "available_containers": pool.idle,
        "waited_share": None if demand is None else round(demand.waited_share, 4),
        "average_wait": None if demand is None else round(demand.average_wait, 6),
        "recommended_size": None if demand is None else demand.recommended_size,
    }


def encode(value: object) -> bytes:
    """Any other answer."""
    return _encode(value)

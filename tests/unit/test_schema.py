"""Requests and answers as JSON."""

from __future__ import annotations

import dataclasses
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_executor.boundaries import Execution, Job, Status, Tenant
from twisted_executor.errors import ImageNotAllowed, InvalidRequest, Overloaded
from twisted_executor.schema import (
    MOST_STRING,
    MOST_STRINGS,
    STRING_COST,
    JobRules,
    decode_job,
    encode_execution,
    encode_refusal,
)
from twisted_executor.testing import HELLO

RULES = JobRules(timeout=30.0, allowed=frozenset())
ONLY_ALPINE = JobRules(timeout=30.0, allowed=frozenset({"docker.io/library/alpine:latest"}))


def job_of(body: object, rules: JobRules = RULES) -> Job:
    """Decode a request."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return decode_job(raw, rules, "id-1", "alice")


def refusal_of(body: object, rules: JobRules = RULES) -> str:
    """The sentence with which a request is refused; it is short, whatever the client wrote."""
    with pytest.raises(InvalidRequest) as caught:
        job_of(body, rules)
    sentence = str(caught.value)
    assert sentence[-1] == "."
    assert len(sentence) < 700
    return sentence


def test_smallest_request() -> None:
    """Only the script is needed."""
    assert job_of({"script": "id"}) == Job(script=b"id", timeout=30.0, request_id="id-1", tenant=Tenant("alice", ""))


def test_whole_request() -> None:
    """Every field finds its place, texts as UTF-8."""
    body = {
        "script": "café\0", "stdin": "\0ü", "image": "alpine", "args": ["a", ""], "env": {"A": "1=2", "ä": ""},
        "timeout": 5, "tenant": "t",
    }  # fmt: skip
    assert job_of(body) == Job(
        script=b"caf\xc3\xa9\0", timeout=5.0, request_id="id-1", stdin=b"\0\xc3\xbc", args=(b"a", b""),
        env=(b"A=1=2", b"\xc3\xa4="), image="alpine", tenant=Tenant("alice", "t"),
    )  # fmt: skip


def test_null_is_absent() -> None:
    """A field that is null is as one that is not there."""
    names = ("stdin", "image", "args", "env", "timeout", "tenant")
    assert job_of({"script": "id"} | dict.fromkeys(names)) == job_of({"script": "id"})
    assert "script" in refusal_of({"script": None})


def test_last_of_two_counts() -> None:
    """A field that is there twice has its last value."""
    assert job_of(b'{"script": "a", "script": "b"}').script == b"b"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", 'send JSON such as {"script": "echo hi"}'),
        (b"{", "not JSON"),
        (b'{"script": "id"} x', "not JSON"),
        (b"[]", "not understood"),
        (b'"id"', "not understood"),
        (b"null", "not understood"),
        (b"{}", '"script" is missing or empty'),
        (b'{"script": ""}', '"script" is missing or empty'),
        (b'{"script": 5}', "$.script"),
        (b'{"script": "id", "args": "a"}', "$.args"),
        (b'{"script": "id", "args": [1]}', "$.args[0]"),
        (b'{"script": "id", "env": {"A": 1}}', "$.env"),
        (b'{"script": "id", "timeout": "5"}', "$.timeout"),
        (b'{"script": "id", "timeout": true}', "$.timeout"),
        (b'{"script": "id", "timeout": NaN}', "not JSON"),
        (b'{"script": "id", "timeout": 1e999}', ""),
        (b'{"script": "id", "timeout": 0}', "at most 30 seconds"),
        (b'{"script": "id", "timeout": -1}', "at most 30 seconds"),
        (b'{"script": "id", "timeout": 30.001}', "at most 30 seconds"),
        (b'{"script": "id", "timeout": ' + b"9" * 5000 + b"}", ""),
        (b'{"script": "id", "scirpt": 1}', "script, stdin, image, args, env, timeout, tenant"),
        (b'{"script": "id", "' + b"x" * 5000 + b'": 1}', "script, stdin, image, args, env, timeout, tenant"),
        (b'{"script": "\\ud800"}', "half of a pair"),
        (b'{"script": "id", "env": {"\\uDC00": ""}}', "half of a pair"),
        (b'{"script": "\xff"}', "not JSON"),
        (b'{"script": "a\nb"}', "not JSON"),
        (b'\xef\xbb\xbf{"script": "id"}', "not JSON"),
        ('{"script": "id"}'.encode("utf-16"), "not JSON"),
        (b'{"script": "id", "args": ["\\u0000"]}', "NUL"),
        (b'{"script": "id", "env": {"A": "\\u0000"}}', "NUL"),
        (b'{"script": "id", "env": {"A\\u0000": ""}}', "NUL"),
        (b'{"script": "id", "env": {"": "a"}}', 'is empty or holds "="'),
        (b'{"script": "id", "env": {"A=B": "a"}}', 'is empty or holds "="'),
        (b'{"script": "id", "image": ""}', "not an image reference"),
        (b'{"script": "id", "image": "a b"}', "not an image reference"),
        (b'{"script": "id", "image": "a\\u0000"}', "not an image reference"),
        (b'{"script": "id", "image": "' + b"a" * 900 + b'"}', "at most"),
        (b'{"script": "id", "tenant": "' + b"t" * 129 + b'"}', "128 characters"),
    ],
    ids=lambda value: repr(value[:30]),
)
def test_refused(body: bytes, words: str) -> None:
    """What is wrong is told in a sentence, with what would be right."""
    assert words in refusal_of(body)


def test_longest_string() -> None:
    """The kernel's limit for one string counts NAME= and the zero at the end."""
    longest = "x" * (MOST_STRING - 1)
    assert job_of({"script": "id", "args": [longest]}).args == (longest.encode(),)
    assert job_of({"script": "id", "env": {"AB": longest[3:]}}).env == (b"AB=" + longest[3:].encode(),)
    assert "longer than 131071 bytes" in refusal_of({"script": "id", "args": [longest + "x"]})
    assert "longer than" in refusal_of({"script": "id", "env": {"AB": longest[2:]}})
    assert "longer than" in refusal_of({"script": "id", "args": ["ä" * (MOST_STRING // 2)]})


def test_all_strings() -> None:
    """The strings together are bounded, each with what the kernel adds to it: many empty ones are many bytes."""
    most = MOST_STRINGS // STRING_COST
    assert len(job_of({"script": "id", "args": [""] * most}).args) == most
    assert "together" in refusal_of({"script": "id", "args": [""] * (most + 1)})
    half = ["x" * 100_000] * 5
    env = {f"V{number}": "x" * 100_000 for number in range(5)}
    assert job_of({"script": "id", "args": half, "env": env})
    assert "together" in refusal_of({"script": "id", "args": half, "env": env | {"MORE": "x" * 100_000}})


def test_quotes() -> None:
    """More strings than can be are refused before they are decoded; quotes within a string are none."""
    names = ",".join(f'"{number:x}\\\\":"\\\\"' for number in range(300_000))
    assert "too many strings" in refusal_of(f'{{"script": "id", "env": {{{names}}}}}'.encode())
    assert job_of({"script": '"' * 1_000_000}).script == b'"' * 1_000_000
    assert len(job_of({"script": "id", "env": {f"{number:x}": "" for number in range(64_000)}}).env) == 64_000


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 1_000_000,
        b'{"a":' * 500_000,
        b'{"script":' + b"[" * 1_000_000,
        b'{"env":{"A":' + b"{" * 1_000_000,
        b'{"env":{' + b'"":"",' * 800_000,
        b'{"timeout":' + b"1" * 1_000_000,
        b'{"timeout":1e' + b"9" * 1_000_000,
    ],
    ids=lambda body: body[:12].decode(),
)
def test_nothing_is_slow(body: bytes) -> None:
    """Depth and length cost no time: a megabyte is refused in a few milliseconds of processor time."""
    began = time.process_time()
    refusal_of(body)
    assert time.process_time() - began < 0.2


def test_allowed_images() -> None:
    """Where there is a list, any spelling of what is in it is fine; no image at all always is."""
    for image in ("alpine", "alpine:latest", "docker.io/library/alpine", "index.docker.io/library/alpine"):
        assert job_of({"script": "id", "image": image}, ONLY_ALPINE).image == image
    assert job_of({"script": "id"}, ONLY_ALPINE).image is None
    for image in ("alpine:3.20", "example.com/alpine", "alpin"):
        with pytest.raises(ImageNotAllowed, match="GET /images"):
            job_of({"script": "id", "image": image}, ONLY_ALPINE)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)
NAMES = st.sampled_from(["script", "stdin", "image", "args", "env", "timeout", "tenant", "other"])


@given(st.one_of(st.dictionaries(NAMES, JSON).map(lambda body: json.dumps(body).encode()), st.binary(max_size=60)))
def test_any_body(body: bytes) -> None:
    """Any body is a job that keeps the rules, or is refused in a sentence."""
    try:
        job = job_of(body)
    except InvalidRequest:
        return
    assert job.script
    assert 0 < job.timeout <= RULES.timeout
    assert not any(b"\0" in text for text in (*job.args, *job.env))


def answer(**changes: Any) -> dict[str, Any]:
    """The answer to a script that ended like this."""
    outcome = dataclasses.replace(HELLO, **changes)
    found: dict[str, Any] = json.loads(encode_execution(Execution(outcome, 0.5, False, "alpine", "id-1")))
    return found


@pytest.mark.parametrize("status", list(Status))
def test_success_is_ok(status: Status) -> None:
    """Success is the status "ok" and nothing else."""
    found = answer(status=status, error=None if status is Status.OK else "It failed.")
    assert found["success"] is (status is Status.OK)
    assert found["status"] == status.value


def test_unknown_figures() -> None:
    """What the agent could not tell is null."""
    found = answer(cpu_time=None, memory_peak=None, exit_code=None, signal="SIGKILL")
    assert (found["cpu_time"], found["memory_peak"], found["exit_code"]) == (None, None, None)
    assert found["signal"] == "SIGKILL"


@pytest.mark.parametrize(
    ("data", "dropped", "text"),
    [
        (b"caf\xc3\xa9\n", 0, "café\n"),
        (b" \n\ta\n\n", 0, " \n\ta\n\n"),
        (b"\0\x1b[1m", 0, "\0\x1b[1m"),
        (b"a\xffb", 0, "a\ufffdb"),
        (b"a\xc3", 0, "a\ufffd"),
        (b"a\xc3", 1, "a"),
        (b"a\xf0\x9f\x98", 9, "a"),
        (b"a\xf0\x9f\x98", 0, "a\ufffd"),
        (b"a\xff", 1, "a\ufffd"),
        (b"\xc3", 1, ""),
        (b"\xed\xa0\x80", 0, "\ufffd\ufffd\ufffd"),
        (b"", 5, ""),
    ],
)
def test_output_as_text(data: bytes, dropped: int, text: str) -> None:
    """What is no UTF-8 is replaced; at a cut, and only there, a half character is left out."""
    found = answer(stdout=data, stdout_bytes=len(data) + dropped, stderr=data, stderr_bytes=len(data) + dropped)
    assert found["stdout"] == found["stderr"] == text
    assert found["stdout_truncated"] is found["stderr_truncated"] is (dropped > 0)
    assert found["stdout_bytes"] == len(data) + dropped


@given(st.text(max_size=30), st.integers(0, 130))
def test_cut_anywhere(text: str, cut: int) -> None:
    """A valid text that is cut anywhere has no replacement character of ours in it."""
    data = text.encode("utf-8", "replace")
    kept = data[:cut]
    found = answer(stdout=kept, stdout_bytes=len(data))["stdout"]
    assert data.decode().startswith(found)


def test_refusal() -> None:
    """An error has the six keys, its code and the id; an incident only where there is one."""
    found = json.loads(encode_refusal(Overloaded("Too many wait."), "id-1"))
    assert found == {
        "success": False, "stdout": "", "stderr": "", "exit_code": None, "execution_time": 0.0,
        "error": "Too many wait.", "code": "overloaded", "request_id": "id-1",
    }  # fmt: skip
    assert json.loads(encode_refusal(Overloaded("Too many wait."), "id-1", "i"))["incident"] == "i"

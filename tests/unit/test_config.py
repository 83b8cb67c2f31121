"""Tests of twisted_executor.config."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_executor.config import VARIABLES, ConfigurationError, Settings, read
from twisted_executor.config_texts import config_help, env_example
from twisted_executor.images import PoolSetting
from twisted_executor.values import MIB

ROOT = Path(__file__).parents[2]
TABLE = [variable for section in VARIABLES.values() for variable in section]


def problems(**environ: str) -> tuple[str, ...]:
    """What `read` says to this environment."""
    with pytest.raises(ConfigurationError) as caught:
        read(environ)
    return caught.value.problems


def test_defaults() -> None:
    """An empty environment gives the defaults that the README promises."""
    settings = read({})
    assert (settings.pool_size, settings.base_image, settings.timeout) == (5, "alpine:latest", 30.0)
    assert (settings.memory_limit, settings.cpu_limit, settings.host_port) == (256 * MIB, 0.5, 8080)
    assert (settings.custom_image_registry, settings.custom_pools) == ("", ())
    assert (settings.custom_image_pull_timeout, settings.custom_image_pull_retries) == (300.0, 3)
    assert (settings.registry_auth_file, settings.image_refresh_interval) == ("", 0.0)
    assert settings.tmpfs_size == 64 * MIB
    assert settings.docker_host == "unix:///var/run/docker.sock"
    assert settings.require_limits == {"memory", "swap", "cpu", "pids"}
    assert settings.log_level == "info"
    assert not settings.console
    assert (settings.allowed_images, settings.allowed_hosts, settings.seccomp_allow) == ((), (), frozenset())


def test_empty_is_unset() -> None:
    """A variable that is empty or blank, as compose passes what nobody set, is the same as an absent one."""
    assert read({variable.name: "" for variable in TABLE}) == read({})
    assert read({variable.name: " " for variable in TABLE}) == read({})


def test_every_field_has_its_variable() -> None:
    """The table and Settings name the same things, each once."""
    assert sorted(variable.field for variable in TABLE) == sorted(field.name for field in dataclasses.fields(Settings))


def test_values() -> None:
    """Each variable reaches its own field."""
    settings = read(
        {
            "POOL_SIZE": " 7 ",
            "CUSTOM_POOLS": "python:3.11=2,node:3",
            "CUSTOM_IMAGE_REGISTRY": "https://registry.example.com/",
            "MEMORY_LIMIT": "1g",
            "TIMEOUT": "500ms",
            "LOG_LEVEL": "WARNING",
            "SECCOMP_ALLOW": "ptrace",
            "REQUIRE_LIMITS": "none",
            "REGISTRY_AUTH_FILE": "/run/auth.json",
            "IMAGE_REFRESH_INTERVAL": "6h",
            "CONSOLE": "1",
        }
    )
    assert settings.pool_size == 7
    assert settings.custom_pools == (PoolSetting("python:3.11", 2), PoolSetting("node", 3))
    assert settings.custom_image_registry == "registry.example.com"
    assert (settings.memory_limit, settings.timeout, settings.log_level) == (1024 * MIB, 0.5, "warn")
    assert (settings.registry_auth_file, settings.image_refresh_interval) == ("/run/auth.json", 21600.0)
    assert (settings.seccomp_allow, settings.require_limits) == (frozenset({"ptrace"}), frozenset())
    assert settings.console


def test_all_problems_at_once() -> None:
    """Everything that is wrong is told in one go, each with its variable, its value and what would be right."""
    assert problems(POOL_SIZE="many", CPU_LIMIT="0", CUSTOM_POOLS="python:3.11", DOCKER_TLS_VERIFY="1") == (
        'POOL_SIZE="many": It must be a whole number from 1 to 1000.',
        'CUSTOM_POOLS="python:3.11": "python:3.11" does not say how many containers to keep warm; '
        'write "python:3.11=2" for two.',
        'CPU_LIMIT="0": It must be a number from 0.01 to 1024, like 0.5.',
        "DOCKER_TLS_VERIFY is set, but this version speaks no TLS to the engine; unset it, and use a unix socket or a "
        "plain port.",
    )


def test_password_in_the_wrong_place() -> None:
    """A password that stands in the address of a registry is not repeated."""
    assert problems(CUSTOM_IMAGE_REGISTRY="https://ann:open-sesame@reg:5000") == (
        'CUSTOM_IMAGE_REGISTRY="https://***@reg:5000": It must not have a user in it; user and password belong into '
        "REGISTRY_AUTH_FILE.",
    )


def test_error_text() -> None:
    """The error as a text has a line for each problem."""
    assert str(ConfigurationError(("One.", "Two."))) == "One.\nTwo."


def test_undecodable_value() -> None:
    """A value that is not UTF-8, which Python reads as lone surrogates, can be told and printed."""
    (sentence,) = problems(POOL_SIZE="\udcff" * 200)
    assert sentence.encode()
    assert len(sentence) < 800


def test_base_image_as_custom_pool() -> None:
    """The base image has one pool, whatever spelling CUSTOM_POOLS uses."""
    assert problems(CUSTOM_POOLS="docker.io/library/alpine:2") == (
        "CUSTOM_POOLS names alpine:latest, which is BASE_IMAGE; the size of its pool is POOL_SIZE.",
    )


def test_one_request_must_fit_all() -> None:
    """A request of the permitted size fits into what may wait."""
    assert problems(MAX_REQUEST_BYTES="2m", MAX_WAITING_BYTES="1m") == (
        "MAX_WAITING_BYTES is 1m, but one request alone may have 2m, MAX_REQUEST_BYTES; it must be at least that.",
    )
    assert read({"MAX_REQUEST_BYTES": "2m", "MAX_WAITING_BYTES": "2m"}).max_waiting_bytes == 2 * MIB


def test_files_must_fit_half_of_memory() -> None:
    """Files in memory that could fill the container are refused, with numbers."""
    assert problems(TMPFS_SIZE="128m") == (
        "MEMORY_LIMIT is 256m, of which files in memory may take half; but TMPFS_SIZE 128m, a script of "
        "MAX_REQUEST_BYTES 4m and 1m for /dev/shm need 133m; set MEMORY_LIMIT to at least 266m or lower the others.",
    )
    assert read({"TMPFS_SIZE": "128m", "MEMORY_LIMIT": "266m"}).tmpfs_rest == MIB


def test_memory_advice_holds() -> None:
    """The MEMORY_LIMIT that the sentence proposes is accepted, and with one byte less it is not."""
    request = {"MAX_REQUEST_BYTES": "40m"}
    (sentence,) = problems(MEMORY_LIMIT="16m", **request)
    assert "at least 86m " in sentence
    assert read({"MEMORY_LIMIT": "86m", **request}).tmpfs_rest == MIB
    assert problems(MEMORY_LIMIT=str(86 * MIB - 1), **request)


@given(st.integers(16 * MIB, 1 << 40))
def test_memory_limit_alone(limit: int) -> None:
    """Whoever changes MEMORY_LIMIT alone gets a TMPFS_SIZE that fits, of at most 64 MiB."""
    settings = read({"MEMORY_LIMIT": str(limit)})
    assert 2 * MIB <= settings.tmpfs_size <= 64 * MIB
    assert settings.tmpfs_rest >= MIB
    assert settings.tmpfs_size + settings.max_request_bytes + settings.tmpfs_rest == limit // 2


def test_no_contradiction_of_wrong_values() -> None:
    """A variable that cannot be read is told once, not again as a contradiction; the others are still compared."""
    assert len(problems(MAX_REQUEST_BYTES="huge", MAX_WAITING_BYTES="1m")) == 1
    assert len(problems(POOL_SIZE="x", MAX_WAITING_BYTES="1m")) == 2


@given(st.fixed_dictionaries({}, optional={variable.name: st.text(max_size=20) for variable in TABLE}))
def test_any_environment(environ: dict[str, str]) -> None:
    """Whatever the environment holds, it is read or refused in words."""
    told: tuple[str, ...] = ("Nothing is wrong.",)
    try:
        read(environ)
    except ConfigurationError as error:
        told = error.problems
    assert told
    assert all(problem.endswith(".") for problem in told)


def test_config_help() -> None:
    """--config-help names every variable with its default, in lines that a terminal shows."""
    lines = config_help().splitlines()
    for variable in TABLE:
        assert f"  {variable.name}={variable.default}" in lines
        assert variable.help.endswith(".")
    assert max(map(len, lines)) <= 110


def test_env_example_is_the_file() -> None:
    """.env.example is what the table says; write env_example() to it after a change."""
    assert (ROOT / ".env.example").read_text() == env_example()


def test_env_example_gives_the_defaults() -> None:
    """A copied .env.example changes nothing."""
    lines = [line for line in env_example().splitlines() if line and not line.startswith("#")]
    assert read(dict(line.split("=", 1) for line in lines)) == read({})


@pytest.mark.parametrize("environ", [{"BASE_IMAGE": "temporary"}, {"CUSTOM_POOLS": "temporary=2"}])
def test_name_of_the_other_pool(environ: dict[str, str]) -> None:
    """Figures know the pool for all other images by a name that an image could have as well."""
    with pytest.raises(ConfigurationError, match="call this one temporary:latest"):
        read(environ)
    read({name: value.replace("temporary", "temporary:latest") for name, value in environ.items()})

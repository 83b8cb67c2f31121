#!/usr/bin/env python3
"""Whether the pools of a running server work beside each other.

./test_multi_pools.py                                              the pools that it has
CUSTOM_POOLS=python-scientific-executor:2 ./test_multi_pools.py    also: whether it has these, in these sizes
TEMPORARY_IMAGE=busybox ./test_multi_pools.py                      also: whether an image without a pool runs
"""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from unittest import SkipTest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.live.client import Answer, execute, get, in_parallel, main, pools, prints, same_image, wait_until

CUSTOM_POOLS = os.environ.get("CUSTOM_POOLS", "").strip()
TEMPORARY_IMAGE = os.environ.get("TEMPORARY_IMAGE", "").strip()
RUNS = 5
MOST = 50  # requests at a time


def wanted() -> list[tuple[str, int]]:
    """Image and size of each pool in CUSTOM_POOLS: image=size, or image:size, where the last part is the size."""
    found = []
    for entry in filter(None, (part.strip() for part in CUSTOM_POOLS.split(","))):
        image, _, size = (part.strip() for part in entry.rpartition("=" if "=" in entry else ":"))
        assert image, f"CUSTOM_POOLS has {entry!r}, which names no image."
        assert size.isdecimal(), f"CUSTOM_POOLS has {entry!r}, which is no image=size."
        found.append((image, int(size)))
    return found


def all_full() -> bool:
    """Whether every container of every pool waits for a request."""
    return all(pool["available_containers"] == pool["pool_size"] for pool in pools().values())


def one_in_each_pool() -> list[Answer]:
    """The answers of a script that runs in all pools, which are full, at the same time."""
    wait_until(all_full, "all pools are full")
    script = 'sleep 0.1; echo "$1"'
    return in_parallel([partial(execute, script, image=image, args=[image]) for image in pools()])


def test_pools_are_active() -> None:
    """Every pool is counted, and becomes full."""
    assert pools(), "the server has no pool"
    get("/metrics").shows(200, pools_active=len(pools()))
    wait_until(all_full, "all pools are full")


def test_configured_pools() -> None:
    """Every pool of CUSTOM_POOLS is there, in its size."""
    if not CUSTOM_POOLS:
        raise SkipTest("CUSTOM_POOLS is not set.")
    there = ", ".join(f"{image}={pool['pool_size']}" for image, pool in pools().items())
    for image, size in wanted():
        sizes = [pool["pool_size"] for name, pool in pools().items() if same_image(name, image)]
        assert sizes == [size], f"CUSTOM_POOLS names {image}={size}, and the server's pools are {there}."


def test_pools_run_scripts() -> None:
    """All pools run scripts at the same time, each in its image and in a warm container."""
    if any(pool["total_executions"] for pool in pools().values()):
        one_in_each_pool()  # What waits may be another tenant's: it is replaced for the first request of ours.
    for _ in range(RUNS):
        for image, answer in zip(pools(), one_in_each_pool(), strict=True):
            answer.shows(200, success=True, stdout=f"{image}\n", image=image, warm=True)


def test_default_pool() -> None:
    """A request without an image runs in one of the pools."""
    wait_until(all_full, "all pools are full")
    answer = execute("echo hi").shows(200, success=True, stdout="hi\n", warm=True)
    assert answer["image"] in pools(), f"it ran in {answer['image']}; the pools are {', '.join(pools())}"


def test_each_pool_counts() -> None:
    """Each pool counts its own executions."""
    before = pools()
    for _ in range(RUNS):
        one_in_each_pool()
    for image, pool in pools().items():
        counts = (before[image]["total_executions"], pool["total_executions"])
        assert counts[1] >= counts[0] + RUNS, f"{image} had {counts[0]} executions and has {counts[1]}"


def test_pools_keep_their_size() -> None:
    """A pool is full again after more requests than it has containers, and after one that costs it a container."""
    before = pools()
    for image, pool in before.items():
        answers = in_parallel(
            [partial(execute, "echo hi", image=image) for _ in range(min(2 * pool["pool_size"], MOST))]
        )
        for answer in answers:
            answer.shows(200, success=True, stdout="hi\n", image=image)
        execute("sleep 20", image=image, timeout=0.2).shows(200, status="timeout")
    wait_until(all_full, "all pools are full again")
    after = pools()
    assert {image: pool["pool_size"] for image, pool in after.items()} == {
        image: pool["pool_size"] for image, pool in before.items()
    }


def test_temporary_container() -> None:
    """An image without a pool runs in a container that is made for it."""
    if not TEMPORARY_IMAGE:
        raise SkipTest("TEMPORARY_IMAGE is not set.")
    has_pool = any(same_image(image, TEMPORARY_IMAGE) for image in pools())
    assert not has_pool, f"TEMPORARY_IMAGE is {TEMPORARY_IMAGE}, which has a pool."
    # Another tenant: it gets no container that an earlier run has left.
    tenant = os.urandom(8).hex()
    answer = execute("echo hi", image=TEMPORARY_IMAGE, tenant=tenant)
    answer.shows(200, success=True, stdout="hi\n", image=TEMPORARY_IMAGE, warm=False)
    prints("again\n", "echo again", image=TEMPORARY_IMAGE, tenant=tenant)


if __name__ == "__main__":
    main(globals())

"""setuptools' build backend, which asks for a compiler where the machine has none for the agent."""

from __future__ import annotations

import agent_build
from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403


def get_requires_for_build_wheel(config_settings=None):
    """What a wheel needs."""
    return build_meta.get_requires_for_build_wheel(config_settings) + agent_build.requirements()


def get_requires_for_build_editable(config_settings=None):
    """What an editable install needs."""
    return build_meta.get_requires_for_build_editable(config_settings) + agent_build.requirements()

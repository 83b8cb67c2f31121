"""Builds the agent with the package; everything else is in setup.cfg."""

import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

sys.path.insert(0, str(Path(__file__).resolve().parent / "build_backend"))

import agent_build


class BuildWithAgent(build_py):
    """The package's files, the agent's binaries among them."""

    def run(self):
        agent_build.build()
        super().run()


setup(cmdclass={"build_py": BuildWithAgent})

"""These need a running server: they are left out unless it is named, or they are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Ignore them when neither SCRIPT_EXECUTOR_URL nor the command line asks for them."""
    named = [(config.invocation_params.dir / argument.split("::")[0]).resolve() for argument in config.args]
    wanted = os.environ.get("SCRIPT_EXECUTOR_URL") or any(path.is_relative_to(HERE) for path in named)
    return None if wanted else True

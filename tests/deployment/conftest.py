"""The engine."""

from tests.engine.conftest import engine as engine

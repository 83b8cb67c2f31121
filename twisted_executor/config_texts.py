"""What people read about the settings, out of their table.  Pure."""

from __future__ import annotations

import textwrap

from twisted_executor.config import VARIABLES


def config_help() -> str:
    """What `--config-help` prints: every variable with its default and what it means."""
    lines = ["Environment variables. An empty one counts as not set. Sizes: 1048576, 1024k, 1m. Times: 30, 500ms, 5m."]
    for section, variables in VARIABLES.items():
        lines += ["", f"{section}:"]
        for variable in variables:
            lines.append(f"  {variable.name}={variable.default}")
            lines += textwrap.wrap(variable.help, 96, initial_indent="      ", subsequent_indent="      ")
    return "\n".join(lines) + "\n"


def env_example() -> str:
    """The text of `.env.example`: every variable with its default."""
    lines = ["# Copy to .env and change what you need. An empty variable counts as not set."]
    for section, variables in VARIABLES.items():
        lines += ["", f"# --- {section} ---"]
        for variable in variables:
            lines += ["", *textwrap.wrap(variable.help, 96, initial_indent="# ", subsequent_indent="# ")]
            lines.append(f"{variable.name}={variable.default}")
    return "\n".join(lines) + "\n"

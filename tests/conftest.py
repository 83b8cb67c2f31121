"""What all tests share."""

from __future__ import annotations

from hypothesis import settings

# No time limit for an example: the machine may be busy. No database: runs leave nothing behind.
settings.register_profile("project", deadline=None, database=None, print_blob=True)
settings.load_profile("project")

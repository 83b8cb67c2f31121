"""Gives matplotlib its font cache when a program imports it: MPLCONFIGDIR is empty then, and has to be writable."""

import os
import sys


class _Finder:
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        """Find nothing, but notice the name."""
        if name == "matplotlib":
            sys.meta_path.remove(cls)
            _link_caches(os.environ.get("MPLCONFIGDIR"))
        return None


def _link_caches(folder):
    try:
        os.makedirs(folder)
        for name in os.listdir("/opt/matplotlib"):
            os.symlink(f"/opt/matplotlib/{name}", f"{folder}/{name}")
    except (OSError, TypeError):
        pass  # There is another one already, or none is wanted: matplotlib makes its own.


sys.meta_path.insert(0, _Finder)

"""The console that results are printed on: as wide as the terminal, 80 columns elsewhere; `NO_COLOR` respected."""

from __future__ import annotations

import os
import shutil
import sys

COLUMNS = 80
"""The width of what does not go to a terminal."""

NARROWEST_COLUMNS = 60
"""A narrower terminal gets this many: it breaks the lines itself."""


def width() -> int:
    """Return the columns that stdout has."""
    if not sys.stdout.isatty():
        return COLUMNS
    return max(NARROWEST_COLUMNS, shutil.get_terminal_size((COLUMNS, 24)).columns)


def colour() -> bool:
    """Return whether stdout takes colours: it is a terminal that knows them, and `NO_COLOR` is unset or empty."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

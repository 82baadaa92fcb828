"""Runs the lab's coroutines: on uvloop where it is installed, which halves the cost of a relayed round trip."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


def run(main: Coroutine[object, object, T]) -> T:
    """Run *main* in a new event loop and return its result. Ctrl-C cancels it, so that its blocks clean up."""
    if sys.platform != "win32":
        try:
            import uvloop  # noqa: PLC0415 - optional
        except ImportError:
            pass
        else:
            return uvloop.run(main)
    return asyncio.run(main)

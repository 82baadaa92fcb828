"""The one place that touches Numba: compile functions to machine code, and keep the result for the next start."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numba  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Callable

Function = TypeVar("Function", bound="Callable[..., object]")


def compiled(function: Function) -> Function:
    """Compile a function that Python calls, at its first call; later starts load it from the cache beside its file.

    It may not allocate: reference counting is off, which makes the engine four times as fast. The cache watches the
    function's own file only: everything that calls each other is in one file, and a change of the layouts or constants
    it uses changes `engine.LAYOUT` too.
    """
    machine_code: Function = numba.njit(cache=True, nogil=True, _nrt=False)(function)
    return machine_code


def part(function: Function) -> Function:
    """Compile a function that only compiled functions call: inlined, and without the wrapper Python would need."""
    machine_code: Function = numba.njit(
        nogil=True, _nrt=False, forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True
    )(function)
    return machine_code

"""The one place that touches Numba: compile functions to machine code, and keep the result for the next start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numba

if TYPE_CHECKING:
    from collections.abc import Callable

NJIT: Any = numba.njit
"""Its published types leave out the options used here, which are as old as Numba's own library."""

Function = TypeVar("Function", bound="Callable[..., object]")


def compiled(function: Function) -> Function:
    """Compile a function that Python calls, at its first call; later starts load it from the cache beside its file.

    It may not allocate: reference counting is off, which makes the engine four times as fast. The cache watches the
    function's own file and the types of its arguments only; `layout.WORLD` carries a digest of the whole engine's
    source, so that a change anywhere in it is compiled anew.
    """
    machine_code: Function = NJIT(cache=True, nogil=True, _nrt=False)(function)
    return machine_code


def part(function: Function) -> Function:
    """Compile a function that only compiled functions call: inlined, and without the wrapper Python would need."""
    machine_code: Function = NJIT(
        nogil=True, _nrt=False, forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True
    )(function)
    return machine_code

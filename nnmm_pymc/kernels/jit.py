"""How kernels are compiled: so that their numbers depend on nothing but their arguments.

What a function calls, numba links into it and optimises there once more, so that a sum which may be
reordered comes in another order than in the same function elsewhere. But all these copies have one
name, and the first that a process loads stands in for the others: a kernel just compiled, the same
one read from the cache on disk, and the same one after another model's differed in the last digit,
and a chain soon differs in all of them. Whatever kernels call is therefore a `part`: it becomes
code of theirs, and no copy is left to be taken for another. A part cannot call itself.

It is optimised by itself first, and again in every part around it, which for a large one takes
seconds. A large part that a kernel calls in one place is therefore a `section` of it.

A kernel in the cache on disk is for numba that of its own file, however those of its parts have
changed. Here it is that of all files of this folder.

Options that are not given would be those of the caller that numba happens to compile first; here
all of them are.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from numba import njit
from numba.core.caching import FunctionCache

__all__ = ["FAST", "kernel", "part", "section"]

# Sums may be reordered, so they vectorise; NaN and infinity keep their meaning, so bad input shows.
FAST = {"reassoc", "contract", "nsz", "arcp"}
Errors = Literal["python", "numpy"]


def _sources() -> tuple[tuple[str, float, int], ...]:
    """Names, times and sizes of all files that a kernel may be made from."""
    files = [(path.name, path.stat()) for path in sorted(Path(__file__).parent.glob("*.py"))]
    return tuple((name, state.st_mtime, state.st_size) for name, state in files)


_SOURCES = _sources()


def kernel(*, fastmath: Any = False, error_model: Errors = "python", inside: bool = False) -> Any:
    """Decorator of what is called from Python only."""
    compiled = njit(
        fastmath=fastmath, error_model=error_model, forceinline=inside, nogil=True, cache=True
    )

    def decorate(function: Callable[..., Any]) -> Any:
        dispatcher: Any = compiled(function)
        if isinstance(dispatcher._cache, FunctionCache):
            dispatcher._cache._cache_file._source_stamp = _SOURCES
        return dispatcher

    return decorate


def part(*, fastmath: Any = False, error_model: Errors = "python") -> Any:
    """Decorator of what kernels call; Python may, too."""
    return kernel(fastmath=fastmath, error_model=error_model, inside=True)


def section(function: Any) -> Any:
    """Decorator of what numba writes into its caller, whose options hold then."""
    return njit(
        fastmath=FAST,
        error_model="numpy",
        forceinline=True,
        inline="always",
        nogil=True,
        cache=True,
    )(function)

"""How kernels are compiled: so that their numbers depend on nothing but their arguments.

What a function calls, numba links into it and optimises there once more, so that a sum which may be
reordered comes in another order than in the same function elsewhere. But all these copies have one
name, and the first that a process loads stands in for the others: a kernel just compiled, the same
one read from the cache on disk, and the same one after another model's differed in the last digit,
and a chain soon differs in all of them. Whatever kernels call is therefore a `part`: it becomes
code of theirs, and no copy is left to be taken for another. A part cannot call itself.

It is optimised by itself first, and again in every part around it, which for a large one takes
seconds. A large part that is called in one place is therefore a `section` of its caller.

Options that are not given would be those of the caller that numba happens to compile first; here
all of them are.
"""

from __future__ import annotations

from typing import Any, Literal

from numba import njit

__all__ = ["FAST", "kernel", "part", "section"]

# Sums may be reordered, so they vectorise; NaN and infinity keep their meaning, so bad input shows.
FAST = {"reassoc", "contract", "nsz", "arcp"}
Errors = Literal["python", "numpy"]


def kernel(*, fastmath: Any = False, error_model: Errors = "python", inside: bool = False) -> Any:
    """Decorator of what is called from Python only."""
    return njit(
        fastmath=fastmath, error_model=error_model, forceinline=inside, nogil=True, cache=True
    )


def part(*, fastmath: Any = False, error_model: Errors = "python") -> Any:
    """Decorator of what kernels call; Python may, too."""
    return kernel(fastmath=fastmath, error_model=error_model, inside=True)


def section(function: Any) -> Any:
    """Decorator of what numba writes into its one caller, whose options must be the same."""
    return njit(
        fastmath=False,
        error_model="python",
        forceinline=True,
        inline="always",
        nogil=True,
        cache=True,
    )(function)

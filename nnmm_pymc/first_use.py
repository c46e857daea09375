"""What steps compile when they are first used, compiled by two processes at a time.

Numba compiles one function at a time, for half a minute where nothing is cached. A second process
takes the sweep over the markers, which takes longest, as soon as its step is there, and leaves it
in the cache on disk, from which the first one reads it. In the end it gets SIGKILL, as a chain
would only take note of SIGTERM.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from nnmm_pymc.steps.conditional import Point

__all__ = ["Ahead"]

#: Seconds to wait for the other process once this one has nothing left to do.
PATIENCE = 60.0

_begun: set[str] = set()


class Ahead:
    """Another process that makes some of the steps while this one goes on; gone when left.

    Parameters
    ----------
    processes : int
        More than one if another core is free.

    Examples
    --------
    >>> with Ahead(2) as ahead:
    ...     ahead.start([], {})
    ...     ahead.use([], {})
    """

    def __init__(self, processes: int):
        self.processes = processes
        self.steps: list[Any] = []
        self.helper: Any = None

    def start(self, steps: Iterable[Any], point: Point) -> None:
        """Make steps there, but for those of a kind that this process has begun with before."""
        self.steps = [step for step in steps if step.name not in _begun]
        if self.steps and self.processes > 1:
            _begun.update(step.name for step in self.steps)
            self.helper = _helper(self.steps, point)

    def use(self, steps: Sequence[Any], point: Point) -> None:
        """Make each step once here, those last of which the other process compiles what they need.

        Their states change, as do the random numbers.
        """
        once = dict.fromkeys(steps)
        for step in once:
            if step not in self.steps:
                step.step(point)
        if self.helper is not None:
            self.helper.join(PATIENCE)
            self.helper.kill()
        for step in once:
            if step in self.steps:
                step.step(point)

    def __enter__(self) -> Ahead:
        return self

    def __exit__(self, *_: object) -> None:
        if self.helper is not None:
            self.helper.kill()


def _helper(steps: Sequence[Any], point: Point) -> Any:
    """A process that has begun to make these, or None where there can be none."""
    if "fork" not in multiprocessing.get_all_start_methods():
        return None
    context = multiprocessing.get_context("fork")
    helper = context.Process(target=_quietly, args=(steps, point), daemon=True)
    try:
        helper.start()
    except OSError:  # for want of memory, which this process may not need
        return None
    return helper


def _quietly(steps: Sequence[Any], point: Point) -> None:
    # What goes wrong here goes wrong in the other process too, which says it.
    with suppress(BaseException):
        for step in steps:
            step.step(point)
    os._exit(0)

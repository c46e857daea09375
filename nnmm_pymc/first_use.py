"""What steps compile when they are first used, compiled by two processes at a time.

Numba compiles one function at a time, for half a minute where nothing is cached. A second process
takes the other half, and leaves it in the cache on disk, from which the first one reads it.
`Ahead` compiles what takes longest while steps are still being assigned; `use_steps` the rest. In
the end helpers get SIGKILL, as a chain would only take note of SIGTERM.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from nnmm_pymc.steps.conditional import Point

__all__ = ["Ahead", "use_steps"]

#: Seconds to wait for the other process once this one has nothing left to do.
PATIENCE = 60.0

_begun: set[str] = set()


class Ahead:
    """Other processes that compile while this one goes on; left when they are through.

    Parameters
    ----------
    processes : int
        More than one if another core is free.

    Examples
    --------
    >>> with Ahead(2) as ahead:
    ...     ahead.start("a sum", lambda: sum([1, 2]))
    """

    def __init__(self, processes: int):
        self.processes = processes
        self.helpers: list[Any] = []

    def start(self, what: str, use: Callable[[], Any]) -> None:
        """Call `use` in another process, unless this one has begun with `what` before."""
        if self.processes > 1 and what not in _begun and (helper := _helper(use)) is not None:
            _begun.add(what)
            self.helpers.append(helper)

    def __enter__(self) -> Ahead:
        return self

    def __exit__(self, error: object, *_: object) -> None:
        try:
            end = time.monotonic() + (PATIENCE if error is None else 0.0)
            for helper in self.helpers:
                helper.join(max(0.0, end - time.monotonic()))
        finally:
            for helper in self.helpers:
                helper.kill()


def use_steps(steps: Sequence[Any], point: Point, processes: int) -> None:
    """Make each step once, so that all that it compiles is compiled.

    Parameters
    ----------
    steps : sequence of PyMC steps
        Their states change, as do the random numbers.
    point : dict
        Where they are made.
    processes : int
        More than one if another core is free.
    """
    # Steps of one kind, which compile the same, by one process.
    steps = sorted(dict.fromkeys(steps), key=lambda step: type(step).__name__)
    made = _share(steps, point) if processes > 1 and len(steps) > 1 else 0
    # What the helper compiled is read from the cache.
    for step in steps[made:]:
        step.step(point)


def _share(steps: Sequence[Any], point: Point) -> int:
    """Make steps from one end, a helper from the other; returns how many were made here."""
    taken = multiprocessing.Value("i", 0)
    helper = _helper(partial(_use, _remaining(steps[::-1], taken), point))
    made = 0
    try:
        for step in _remaining(steps, taken):
            step.step(point)
            made += 1
        if helper is not None:
            helper.join(PATIENCE)
    finally:
        if helper is not None:
            helper.kill()
    return made


def _remaining(steps: Sequence[Any], taken: Any) -> Iterator[Any]:
    """Steps from one end, until all are taken from one end or the other."""
    for step in steps:
        with taken.get_lock():
            if taken.value == len(steps):
                return
            taken.value += 1
        yield step


def _use(steps: Iterator[Any], point: Point) -> None:
    for step in steps:
        step.step(point)


def _helper(use: Callable[[], Any]) -> Any:
    """A process that has begun to call this, or None where there can be none."""
    if "fork" not in multiprocessing.get_all_start_methods():
        return None
    helper = multiprocessing.get_context("fork").Process(target=_quietly, args=(use,), daemon=True)
    try:
        helper.start()
    except OSError:  # for want of memory, which this process may not need
        return None
    return helper


def _quietly(use: Callable[[], Any]) -> None:
    # What goes wrong here goes wrong in the other process too, which says it.
    with suppress(BaseException):
        use()
    os._exit(0)

"""What steps compile when they are first used, compiled by two processes at a time.

Numba compiles one function at a time, for half a minute where nothing is cached. A second process
takes the other half, and leaves it in the cache on disk, from which the first one reads it.
`Ahead` compiles what takes longest while steps are still being assigned; `use_steps` the rest.
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
        self.able = processes > 1 and "fork" in multiprocessing.get_all_start_methods()
        self.helpers: list[Any] = []

    def start(self, what: str, use: Callable[[], Any]) -> None:
        """Call `use` in another process, unless this one has begun with `what` before."""
        if not self.able or what in _begun:
            return
        _begun.add(what)
        helper = multiprocessing.get_context("fork").Process(
            target=_quietly, args=(use,), daemon=True
        )
        helper.start()
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
                # Not SIGTERM, which a chain would only take note of.
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
    made = 0
    if processes > 1 and len(steps) > 1 and "fork" in multiprocessing.get_all_start_methods():
        context = multiprocessing.get_context("fork")
        taken = context.Value("i", 0)
        helper = context.Process(
            target=_quietly,
            args=(partial(_use, _remaining(steps[::-1], taken), point),),
            daemon=True,
        )
        helper.start()
        try:
            for step in _remaining(steps, taken):
                step.step(point)
                made += 1
            helper.join(PATIENCE)
        finally:
            helper.kill()
    # What the helper compiled is read from the cache.
    for step in steps[made:]:
        step.step(point)


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


def _quietly(use: Callable[[], Any]) -> None:
    # What goes wrong here goes wrong in the other process too, which says it.
    with suppress(BaseException):
        use()
    os._exit(0)

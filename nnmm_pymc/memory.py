"""The memory a run takes, said before it is taken."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnmm_pymc.errors import InputError
from nnmm_pymc.free_memory import available_bytes
from nnmm_pymc.record import RecordPlan
from nnmm_pymc.steps.conditional import Point

__all__ = ["Memory", "check_memory", "run_memory"]

# Bytes of an iteration's arrays: float64 and float32 residuals of every cell of a value; effects,
# random numbers, classes and parameters of the prior of every effect.
CELL, EFFECT = 48, 64
# Of draws of a chain: in the chain, in the process that collects them, and in the result.
COPIES = 2


@dataclass(frozen=True)
class Memory:
    """Bytes a run needs beyond what its model holds already.

    Attributes
    ----------
    draws : int
        What all chains keep draw by draw, the copies made of it while chains are put together too.
    moments : int
        Running moments and thinned draws of effects.
    working : int
        What the chains that run at one time work with.
    largest : str
        Variable of which the draws take most.
    """

    draws: int
    moments: int
    working: int
    largest: str

    @property
    def total(self) -> int:
        return self.draws + self.moments + self.working

    def __str__(self) -> str:
        return (
            f"Memory of the run: about {_size(self.total)} (draws {_size(self.draws)}, moments "
            f"{_size(self.moments)}, at work {_size(self.working)})"
        )


def run_memory(
    record: RecordPlan, start: Point, chains: int, running: int, steps: Iterable[Any] = ()
) -> Memory:
    """Estimate the memory of a run.

    Parameters
    ----------
    record : RecordPlan
    start : dict
        A point of the chain.
    chains, running : int
        Chains in all, and at a time.
    steps : iterable of steps
        Those with `working_bytes` are counted.
    """
    stored = {
        name: 8 * record.draws * int(np.size(v))
        for name, v in record.read(start).items()
        if name not in record.on_disk
    }
    summarised = 6 * 8 * sum(int(np.size(start[v])) for v in record.summarised.values())
    thinned = 4 * len(record.thinned_at) * sum(int(np.size(start[e])) for e in record.effects)
    working = sum(
        CELL * t.held.get_value(borrow=True).size + EFFECT * int(np.size(start[t.effects]))
        for t in record.conditional.terms
    ) + sum(getattr(step, "working_bytes", 0) for step in steps)
    # A chain in a process of its own holds its draws until it hands them over.
    copies = COPIES * chains + (running if running > 1 else 0)
    return Memory(
        copies * sum(stored.values()),
        copies * (summarised + thinned),
        running * working,
        max(stored, key=lambda name: stored[name], default=""),
    )


def check_memory(memory: Memory) -> None:
    """Refuse a run that does not fit.

    Raises
    ------
    InputError
        If it needs more than is free.
    """
    free = available_bytes()
    if free is None or memory.total <= free:
        return
    parts = {"draws": memory.draws, "moments": memory.moments, "working": memory.working}
    advice = {
        "draws": f"draw less, keep less (most is of {memory.largest!r}), or on disk (scratch=)",
        "moments": "run fewer chains",
        "working": "run fewer chains at a time (cores=)",
    }[max(parts, key=lambda name: parts[name])]
    raise InputError(
        f"The run needs about {_size(memory.total)} of memory and {_size(free)} are free: {advice}."
    )


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{max(1, n_bytes // 10**6)} MB"

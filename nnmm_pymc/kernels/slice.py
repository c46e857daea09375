"""Slice sampling of many scalars side by side."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = ["slice_sample"]

STEPS_OUT = 8


def slice_sample(
    start: np.ndarray,
    log_density: Callable[[np.ndarray], np.ndarray],
    rng: np.random.Generator,
    width: np.ndarray | float = 1.0,
) -> np.ndarray:
    """One slice-sampling update of every element, independent given the rest, side by side.

    Stepping out by `width` up to `STEPS_OUT` times in all, split at random between the sides so
    that the move is reversible, then shrinkage (Neal 2003, Ann Stat 31:705, figures 3 and 5).
    """
    start = np.asarray(start)
    at_start = log_density(start)
    if not np.all(np.isfinite(at_start)):
        raise FloatingPointError("The log density is not finite at the start of a slice update.")
    level = at_start - rng.standard_exponential(start.shape)
    left = np.array(start - width * rng.random(start.shape))
    right = np.array(left + width)
    to_left = rng.integers(0, STEPS_OUT + 1, size=start.shape)
    to_right = STEPS_OUT - to_left
    for side, steps, sign in ((left, to_left, -1.0), (right, to_right, 1.0)):
        for step in range(STEPS_OUT):
            grow = (step < steps) & (log_density(side) > level)
            if not grow.any():
                break
            side[...] += sign * width * grow
    draw = np.array(start)
    open_ = np.ones(start.shape, bool)
    while open_.any():
        proposal = np.where(open_, left + (right - left) * rng.random(start.shape), draw)
        inside = log_density(proposal) >= level
        draw = np.where(open_ & inside, proposal, draw)
        shrink = open_ & ~inside
        left = np.where(shrink & (proposal < start), proposal, left)
        right = np.where(shrink & (proposal >= start), proposal, right)
        open_ &= ~inside
    return draw

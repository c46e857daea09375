"""Liabilities and the gaps between their cutpoints against the model."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nnmm_pymc.checks.numbers import Given, standing_in
from nnmm_pymc.checks.reference import State
from nnmm_pymc.steps.conditional import Point
from nnmm_pymc.steps.liability import LiabilityGibbs

__all__ = ["liability_misfits"]

MOVES = 3
# Of central differences in the uniform numbers.
WIDTH = 1e-5


def liability_misfits(step: LiabilityGibbs, state: State) -> Iterator[tuple[str, float]]:
    """Liabilities z from uniform numbers u, of density du/dz; gaps with z integrated out.

    Together p(gaps, z) = p(gaps) p(z | gaps) is the density of the model, as both move.
    """
    name, gaps = step.liability.name, step.liability.gaps

    def drawn(point: Point, uniforms: np.ndarray) -> np.ndarray:
        with (
            standing_in(step, "rng", Given([uniforms])),
            standing_in(step, "_drawn_gaps", lambda at, *_: at[gaps]),
        ):
            return step.step(point)[0][name]

    def implied(point: Point, uniforms: np.ndarray) -> tuple[Point, float]:
        """The point with its liabilities drawn, and the log density of the step there."""
        sides = [drawn(point, uniforms + s * WIDTH) for s in (-1, 1)]
        log = -float(np.log(np.abs(sides[1] - sides[0]) / (2 * WIDTH)).sum())
        point = point | {name: drawn(point, uniforms)}
        if gaps is not None:
            residual, sd = step.read(point)
            log += step.log_density(point, point[name] - residual, sd)
        return point, log

    shape = np.shape(state.point[name])
    start, before = implied(state.point, state.rng.uniform(0.1, 0.9, shape))
    at = State(state.reference, start, state.classes, state.rng)
    for _ in range(MOVES):
        moved = dict(start)
        if gaps is not None:
            moved[gaps] = start[gaps] + 0.3 * state.rng.normal(size=start[gaps].shape)
        moved, after = implied(moved, state.rng.uniform(0.1, 0.9, shape))
        misfit = at.change(moved).misfit(after - before)
        for own in [name] if gaps is None else [name, gaps]:
            yield own, misfit

"""Updates of Gaussian blocks against the model: each is a mean plus a matrix times its noise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from nnmm_pymc.checks.numbers import Given, NoteNormals, standing_in
from nnmm_pymc.checks.reference import State
from nnmm_pymc.steps.latent import LatentGibbs

__all__ = ["latent_gibbs_misfits", "noise_misfits"]

MOVES = 3


def noise_misfits(step: Any, state: State, momenta: int = 0) -> Iterator[tuple[str, float]]:
    """A draw m + A e with as many numbers e as elements has the log density -e'e / 2.

    The first `momenta` arrays of normal numbers are those of proposals, which are turned down.
    """
    names = [v.name for v in step.vars]

    def drawn(scale: float) -> tuple[dict[str, np.ndarray], float]:
        numbers = NoteNormals(state.rng, scale, momenta)
        with standing_in(step, "rng", numbers):
            point = step.step(state.point)[0]
        return {name: point[name] for name in names}, numbers.square

    mean, _ = drawn(0.0)
    start = replace(state, point=state.point | mean)
    for _ in range(MOVES):
        new, square = drawn(1.0)
        misfit = start.change(new).misfit(-0.5 * square)
        for name in names:
            if np.any(new[name] != mean[name]):
                yield name, misfit


def latent_gibbs_misfits(step: LatentGibbs, state: State) -> Iterator[tuple[str, float]]:
    """Missing cells m + A e, where A and the covariance AA' are of one individual at a time."""
    name, rows = step.density.network.missing, step.density.cell_rows
    traits = np.zeros((len(step.density.incomplete), step.density.network.weight_mask.shape[1]))
    # Where each cell stands among those of its individual, and the cells of every individual.
    place = np.array([np.sum(rows[:i] == r) for i, r in enumerate(rows)])
    table = np.full((len(traits), place.max() + 1), len(rows))
    table[rows, place] = np.arange(len(rows))

    def drawn(cells: np.ndarray, traits: np.ndarray) -> np.ndarray:
        with standing_in(step, "rng", Given(normals=[cells, traits])):
            return step.step(state.point)[0][name]

    mean = drawn(0.0 * rows, traits)
    columns = [drawn((place == c) * 1.0, traits) - mean for c in range(table.shape[1])]
    columns += [drawn(0.0 * rows, traits + unit) - mean for unit in np.eye(traits.shape[1])]
    matrix = np.stack(columns, axis=1)
    start = replace(state, point=state.point | {name: mean})
    for _ in range(MOVES):
        noise = state.rng.normal(size=len(rows)), state.rng.normal(size=traits.shape)
        z = drawn(*noise)
        own = np.hstack([np.append(noise[0], 0.0)[table], noise[1]])[rows]
        # Random noise shows whether cells of different individuals really do not meet.
        astray = np.abs(z - mean - np.sum(matrix * own, axis=1)).max() / np.abs(z - mean).max()
        density = 0.0
        for r in np.unique(rows):
            factor, away = matrix[rows == r], (z - mean)[rows == r]
            density -= 0.5 * away @ np.linalg.solve(factor @ factor.T, away)
        yield name, max(float(astray), start.change({name: z}).misfit(density))

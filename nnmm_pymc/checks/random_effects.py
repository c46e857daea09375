"""Updates of random effects: the draw of the vector, and its moves with a variance or intercept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from nnmm_pymc.checks.gaussian import MOVES, noise_misfits
from nnmm_pymc.checks.numbers import Given, standing_in
from nnmm_pymc.checks.reference import State
from nnmm_pymc.kernels.scale import log_density
from nnmm_pymc.steps.random_effects import RandomEffectGibbs

__all__ = ["random_effect_misfits", "random_scale_misfits", "shift_misfits"]


def random_effect_misfits(step: RandomEffectGibbs, state: State) -> Iterator[tuple[str, float]]:
    """Draws of the effects, without the moves that follow."""
    with standing_in(step, "scale", None), standing_in(step, "shift", None):
        if step.precision is None or step.direct:
            yield from noise_misfits(step, state)
        else:
            yield from _perturbed_misfits(step, state)


class _Numbers:
    """Hands out normal numbers from one vector, in the order in which they are asked for."""

    def __init__(self, vector: np.ndarray):
        self.vector, self.used = vector, 0

    def standard_normal(self, size: Any) -> np.ndarray:
        start, self.used = self.used, self.used + int(np.prod(size))
        return self.vector[start : self.used].reshape(size).copy()


def _perturbed_misfits(step: RandomEffectGibbs, state: State) -> Iterator[tuple[str, float]]:
    """A draw m + A e with twice as many numbers as effects: its covariance is AA'."""
    name = step.term.effects
    size = np.size(state.point[name])

    def drawn(noise: np.ndarray) -> np.ndarray:
        with standing_in(step, "rng", _Numbers(noise)):
            return step.step(state.point)[0][name].ravel()

    nothing = np.zeros(2 * size)
    mean = drawn(nothing)
    matrix = np.stack([drawn(unit) - mean for unit in np.eye(2 * size)], axis=1)
    shape = np.shape(state.point[name])
    start = replace(state, point=state.point | {name: mean.reshape(shape)})
    for _ in range(MOVES):
        new = drawn(state.rng.normal(size=2 * size))
        away = new - mean
        density = -0.5 * away @ np.linalg.solve(matrix @ matrix.T, away)
        yield name, start.change({name: new.reshape(shape)}).misfit(float(density))


class _NoteScale:
    """Stands in for the scale move: notes the likelihood's coefficients, and moves nothing."""

    def move(self, point: Any, quadratic: Any, linear: Any, rng: Any) -> float:
        self.quadratic, self.linear = np.array(quadratic), np.array(linear)
        return 1.0


def random_scale_misfits(step: RandomEffectGibbs, state: State) -> Iterator[tuple[str, float]]:
    """The density of a variance with the effects that it scales, along the line of the move."""
    assert step.scale is not None and step.scale.known is not None
    name, variance = step.term.effects, step.scale.variance
    note, known = _NoteScale(), step.scale.known
    with standing_in(step, "scale", note), standing_in(step, "shift", None):
        start = replace(state, point=step.step(state.point)[0])
    here = np.asarray(start.point[variance])
    shared = here.size == 1
    quadratic, linear = (a.sum() if shared else a for a in (note.quadratic, note.linear))
    if 2 in known:
        falling = known[2] * np.exp(here)
        linear, quadratic = linear - falling, quadratic + falling
    own = (here, *(np.reshape(a, here.shape) for a in (known[0], known[1], linear, quadratic)))
    for _ in range(MOVES):
        there = here + state.rng.normal(0.0, 0.5, here.shape)
        implied = np.sum(log_density(there, *own) - log_density(here, *own))
        effects = start.point[name] * np.exp(0.5 * (there - here))
        change = start.change({variance: there, name: effects})
        # Effects that move with the variance take their volume with them.
        volume = 0.5 * np.sum(np.broadcast_to(there - here, effects.shape))
        yield variance, replace(change, value=change.value + float(volume)).misfit(float(implied))


def shift_misfits(step: RandomEffectGibbs, state: State) -> Iterator[tuple[str, float]]:
    """The density of an intercept and effects along the line of the move."""
    assert step.shift is not None
    shift: Any = step.shift
    name, intercept = step.term.effects, shift.intercept
    effects = state.point[name].reshape(step.term.levels.n_levels, -1)
    variance = step.variance(state.point)[0]

    def moved(z: np.ndarray) -> dict[str, np.ndarray]:
        c = shift.draw(state.point, effects, variance, Given(normals=[z]))
        before = state.point[intercept]
        own = (effects - c).reshape(state.point[name].shape)
        return {name: own, intercept: before + c.reshape(np.shape(before))}

    still = np.zeros(effects.shape[1])
    start = replace(state, point=state.point | moved(still))
    for _ in range(MOVES):
        z = state.rng.normal(size=still.shape)
        yield intercept, start.change(moved(z)).misfit(float(-0.5 * z @ z))

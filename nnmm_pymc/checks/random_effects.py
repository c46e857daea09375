"""Updates of random effects: the draw of the vector, and its moves with a variance or intercept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from nnmm_pymc.checks.gaussian import MOVES, noise_misfits
from nnmm_pymc.checks.numbers import Given, standing_in
from nnmm_pymc.checks.reference import State
from nnmm_pymc.kernels.scale import log_density
from nnmm_pymc.steps.coupled_effects import CoupledRandomEffectGibbs
from nnmm_pymc.steps.random_effects import RandomEffectGibbs
from nnmm_pymc.steps.relatives import RelativesGibbs
from nnmm_pymc.steps.scale import ScaleMove

__all__ = [
    "coupled_effect_misfits",
    "draws_only",
    "random_effect_misfits",
    "random_scale_misfits",
    "shift_misfits",
]


@contextmanager
def draws_only(step: Any) -> Iterator[None]:
    """A step of random effects without the moves that follow its draws."""
    with ExitStack() as stack:
        for part in _parts(step):
            stack.enter_context(standing_in(part, "scale", None))
            stack.enter_context(standing_in(part, "shift", None))
        if isinstance(step, RelativesGibbs):
            stack.enter_context(standing_in(step, "trade", None))
        yield


def _parts(step: Any) -> list[RandomEffectGibbs]:
    return step.parts if isinstance(step, RelativesGibbs) else [step]


def random_effect_misfits(
    step: RandomEffectGibbs | RelativesGibbs, state: State
) -> Iterator[tuple[str, float]]:
    """Draws of the effects, without the moves that follow."""
    with draws_only(step):
        if all(part.precision is None or part.direct for part in _parts(step)):
            yield from noise_misfits(step, state)
        else:
            yield from _perturbed_misfits(step, state)


class _Numbers:
    """Hands out normal numbers from one vector, in the order in which they are asked for."""

    def __init__(self, vector: np.ndarray):
        self.vector, self.used = vector, 0

    def standard_normal(self, size: Any) -> np.ndarray:
        start, self.used = self.used, self.used + int(np.prod(size))
        given = np.zeros(self.used - start)
        given[: len(self.vector) - start] = self.vector[start : self.used]
        return given.reshape(size)


def coupled_effect_misfits(
    step: CoupledRandomEffectGibbs, state: State
) -> Iterator[tuple[str, float]]:
    """Draws of the effects on one trait after the other, each given those on the others."""
    for trait in range(state.point[step.term.effects].shape[1]):
        one: Any = _OneTrait(step, trait)
        yield from random_effect_misfits(one, state)


class _OneTrait:
    """A step that draws the effects on one trait, without the moves that follow."""

    scale = shift = None

    def __init__(self, step: CoupledRandomEffectGibbs, trait: int):
        self.step_of_all, self.trait, self.vars = step, trait, step.vars
        self.precision, self.direct = step.precision, step.direct

    @property
    def rng(self) -> Any:
        return self.step_of_all.rng

    @rng.setter
    def rng(self, rng: Any) -> None:
        self.step_of_all.rng = rng

    def step(self, point: Any) -> tuple[Any, list[Any]]:
        self.step_of_all.conditional.refresh(point)
        point = point.copy()
        self.step_of_all.draw_trait(point, self.trait)
        return point, []


def _perturbed_misfits(step: Any, state: State) -> Iterator[tuple[str, float]]:
    """A draw m + A e with more numbers e than effects: its covariance is AA'."""
    names = [v.name for v in step.vars]

    def drawn(noise: np.ndarray) -> tuple[np.ndarray, int]:
        with standing_in(step, "rng", _Numbers(noise)):
            point, used = step.step(state.point)[0], step.rng.used
        return np.concatenate([point[name].ravel() for name in names]), used

    def effects(vector: np.ndarray) -> dict[str, np.ndarray]:
        sizes = np.cumsum([np.size(state.point[name]) for name in names])[:-1]
        parts = zip(names, np.split(vector, sizes), strict=True)
        return {name: part.reshape(np.shape(state.point[name])) for name, part in parts}

    mean, size = drawn(np.zeros(0))
    matrix = np.stack([drawn(unit)[0] - mean for unit in np.eye(size)], axis=1)
    moves = np.any(matrix != 0.0, axis=1)
    covariance = matrix[moves] @ matrix[moves].T
    start = replace(state, point=state.point | effects(mean))
    for _ in range(MOVES):
        new, _ = drawn(state.rng.normal(size=size))
        away = (new - mean)[moves]
        density = -0.5 * away @ np.linalg.solve(covariance, away)
        misfit = start.change(effects(new)).misfit(float(density))
        yield from ((name, misfit) for name in names)


class _NoteScale:
    """Stands in for the scale move: notes the likelihood's coefficients, and moves nothing.

    Those of all responses at once, or one after the other (`responses`).
    """

    def __init__(self, scale: ScaleMove):
        self.responses = scale.responses
        self.noted: list[tuple[Any, Any, Any]] = []

    def move(self, point: Any, quadratic: Any, linear: Any, rng: Any) -> float:
        self.noted.append((..., np.array(quadratic), np.array(linear)))
        return 1.0

    def move_one(self, point: Any, response: int, slopes: Any, rng: Any) -> float:
        self.noted.append((response, *slopes))
        return 1.0


def random_scale_misfits(
    step: RandomEffectGibbs | RelativesGibbs, state: State
) -> Iterator[tuple[str, float]]:
    """The density of a variance with the effects that it scales, along the line of the move."""
    for part in _parts(step):
        if part.scale is not None:
            yield from _scale_misfits(step, part, state)


def _scale_misfits(step: Any, part: Any, state: State) -> Iterator[tuple[str, float]]:
    note = _NoteScale(part.scale)
    with draws_only(step), standing_in(part, "scale", note):
        start = replace(state, point=step.step(state.point)[0])
    for chosen, quadratic, linear in note.noted:
        yield from _line_misfits(part, start, chosen, quadratic, linear)


def _line_misfits(
    part: Any, start: State, chosen: Any, quadratic: Any, linear: Any
) -> Iterator[tuple[str, float]]:
    """Along the line on which the variances of the chosen responses move."""
    name, variance, known = part.term.effects, part.scale.variance, part.scale.known
    here = np.asarray(start.point[variance])
    sums = (a.sum() if here.size == 1 else a for a in map(np.asarray, (quadratic, linear)))
    quadratic, linear = (np.broadcast_to(a, here.shape) for a in sums)

    def density(at: np.ndarray) -> np.ndarray:
        if known is None:
            away = np.expm1(0.5 * (at - here))
            prior = part.scale.log_prior(start.point, at) + at
            return prior + away * linear - 0.5 * away**2 * quadratic
        falling = known[2] * np.exp(here) if 2 in known else 0.0
        return log_density(at, here, known[0], known[1], linear - falling, quadratic + falling)

    for _ in range(MOVES):
        there = here.copy()
        there[chosen] += start.rng.normal(0.0, 0.5, here[chosen].shape)
        implied = np.sum(density(there) - density(here))
        effects = start.point[name] * np.exp(0.5 * (there - here))
        change = start.change({variance: there, name: effects})
        # Effects that move with the variance take their volume with them.
        volume = 0.5 * np.sum(np.broadcast_to(there - here, effects.shape))
        yield variance, replace(change, value=change.value + float(volume)).misfit(float(implied))


def shift_misfits(
    step: RandomEffectGibbs | RelativesGibbs, state: State
) -> Iterator[tuple[str, float]]:
    """The density of an intercept and effects along the line of the move."""
    for part in _parts(step):
        if part.shift is not None:
            yield from _shift_misfits(part, part.shift, state)


def _shift_misfits(
    step: RandomEffectGibbs, shift: Any, state: State
) -> Iterator[tuple[str, float]]:
    name, intercept = step.term.effects, shift.intercept
    effects = state.point[name].reshape(step.term.levels.n_levels, -1)

    def moved(z: np.ndarray) -> dict[str, np.ndarray]:
        given: Any = Given(normals=[z])
        c = step.shift_step(state.point, effects, given)
        before = state.point[intercept]
        own = (effects - c).reshape(state.point[name].shape)
        return {name: own, intercept: before + c.reshape(np.shape(before))}

    still = np.zeros(effects.shape[1])
    start = replace(state, point=state.point | moved(still))
    for _ in range(MOVES):
        z = state.rng.normal(size=still.shape)
        yield intercept, start.change(moved(z)).misfit(float(-0.5 * z @ z))

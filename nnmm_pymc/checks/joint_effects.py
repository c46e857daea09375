"""Updates of marker effects on several traits, and of covariance matrices, against the model.

Pattern and effects of a marker are read off the sweep as single effects are: moving the uniform
number of the marker gives the probability of each pattern, moving its normal numbers mean and
covariance in each. Of a covariance matrix it is the distribution that the update draws from, given
what it has drawn beside it; model and filled-in values must together have the same density.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import stats

from nnmm_pymc.checks.effects import HALVINGS, LEAST, MARKERS, marker_misfits
from nnmm_pymc.checks.numbers import Given, NoteNormals, standing_in
from nnmm_pymc.checks.reference import State
from nnmm_pymc.steps import joint_scale
from nnmm_pymc.steps.coupled_effects import JointRandomEffectGibbs
from nnmm_pymc.steps.covariance import CovarianceGibbs, Filled
from nnmm_pymc.steps.joint_markers import JointMarkerGibbs

__all__ = ["covariance_misfits", "joint_marker_misfits", "joint_scale_misfits"]

MOVES = 3


def joint_marker_misfits(step: JointMarkerGibbs, state: State) -> Iterator[tuple[str, float]]:
    """Draws of pattern and effects of some markers by the joint sweep."""
    if step.patterns is None:
        yield from marker_misfits(step, state)
        return
    name, rng, old = step.term.effects, state.rng, state.point[step.term.effects]
    step.conditional.refresh(state.point)
    residual, omega, *_ = step.read(state.point)
    root = np.sqrt(np.abs(omega).max(axis=(0, 1)))
    slack = np.sqrt(residual.shape[1]) + float(root @ np.linalg.norm(residual, axis=1))
    uniforms, normals = rng.random((len(old), 1)), rng.normal(size=old.shape)
    with standing_in(step, "scale", None), standing_in(step, "rng", step.rng):
        for j in rng.choice(len(old), min(MARKERS, len(old)), replace=False):
            drawn = _Drawn(step, state, j, uniforms, normals)
            effects = np.where(np.arange(len(old))[:, None] >= j, old, drawn(0.5, normals[j]))
            start, reference = None, 0.0
            for own, density in _places(drawn, rng):
                moved = effects.copy()
                moved[j] = own
                if start is None:
                    start, reference = replace(state, point=state.point | {name: moved}), density
                else:
                    yield name, start.change({name: moved}).misfit(density - reference, slack)


class _Drawn:
    """All effects as the sweep draws them with other random numbers for one marker."""

    def __init__(self, step, state: State, j: int, uniforms: np.ndarray, normals: np.ndarray):
        self.step, self.point, self.j = step, state.point, j
        self.uniforms, self.normals = uniforms, normals

    def __call__(self, uniform: float, normals: np.ndarray) -> np.ndarray:
        uniforms, own = self.uniforms.copy(), self.normals.copy()
        uniforms[self.j], own[self.j] = uniform, normals
        self.step.rng = Given([uniforms], [own])
        return self.step.step(self.point)[0][self.step.term.effects]

    def pattern(self, uniform: float) -> int:
        """Which pattern is drawn."""
        included = self(uniform, np.full(self.normals.shape[1], 0.3))[self.j] != 0.0
        return int(np.flatnonzero((self.step.patterns == included).all(axis=1))[0])


def _places(drawn: _Drawn, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, float]]:
    """Effects of the marker, and the log density with which they are drawn."""
    patterns = drawn.step.patterns
    edges = [0.0]
    for d in range(len(patterns) - 1):
        low, high = edges[-1], 1.0
        for _ in range(HALVINGS):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if drawn.pattern(middle) <= d else (low, middle)
        edges.append(0.5 * (low + high))
    edges.append(1.0)
    for d, own in enumerate(patterns):
        probability = edges[d + 1] - edges[d]
        if probability < LEAST:
            continue
        inside, n_traits = 0.5 * (edges[d] + edges[d + 1]), len(own)
        mean = drawn(inside, np.zeros(n_traits))[drawn.j]
        root = np.array([drawn(inside, unit)[drawn.j] - mean for unit in np.eye(n_traits)]).T
        root = root[np.ix_(own, own)]
        for z in rng.uniform(-2.0, 2.0, (2 if own.any() else 1, own.sum())):
            effects = mean.copy()
            effects[own] += root @ z
            density = stats.norm.logpdf(z).sum() - np.linalg.slogdet(root)[1]
            yield effects, float(np.log(probability) + density)


def joint_scale_misfits(
    step: JointMarkerGibbs | JointRandomEffectGibbs, state: State
) -> Iterator[tuple[str, float]]:
    """The density that standard deviations and scaled effects of each trait are drawn from."""
    name, scale, densities = step.term.effects, step.scale, []

    def spy(start: np.ndarray, log_density: Callable[[np.ndarray], np.ndarray], _: Any) -> Any:
        densities.append(log_density)
        return start

    # Of random effects a move with the intercept would follow.
    still = standing_in(step, "shift", None) if hasattr(step, "shift") else nullcontext()
    with standing_in(joint_scale, "slice_sample", spy), still:
        swept = step.step(state.point)[0]
    start = replace(state, point=swept)
    covariance = scale.transform.to_covariance(swept[scale.covariance])
    residual, omega, *_ = step.read(swept)
    value = step.term.held.get_value()
    for t, density in enumerate(densities):
        shift = state.rng.normal(0.0, 0.5)
        factors = np.where(np.arange(len(covariance)) == t, np.exp(shift), 1.0)
        moved = scale.transform.to_value(covariance * np.outer(factors, factors))
        effects = swept[name] * factors
        change = start.change({scale.covariance: moved, name: effects})
        # Effects, and the elements beside the diagonal in row t of the Cholesky factor, take their
        # volume with them.
        volume = (np.count_nonzero(effects[:, t]) + t) * shift
        implied = density(np.array([shift])) - density(np.zeros(1))
        slack = float(np.sqrt(omega[:, t, t].max()) * np.linalg.norm(value[:, t]))
        slack *= float(np.sqrt(np.abs(omega).max()) * np.linalg.norm(residual))
        yield (
            scale.covariance,
            replace(change, value=change.value + float(volume)).misfit(float(implied[0]), slack),
        )


def covariance_misfits(step: CovarianceGibbs, state: State) -> Iterator[tuple[str, float]]:
    """What the update fills in, and the inverse Wishart that it asks for given that."""
    step.conditional.refresh(state.point)
    for misfit in _fill_misfits(step, state):
        yield step.value, misfit
    with standing_in(step, "rng", state.rng):
        filled = step.fill(state.point)
    df, scale = step.parameters(state.point, filled)
    prior_scale, prior_df = step.prior(state.point)
    start = np.asarray(state.point[step.value])

    def implied(value: np.ndarray) -> float:
        covariance = step.transform.to_covariance(value)
        powers = len(scale) + 1.0 - np.arange(len(scale))
        jacobian = powers @ value[step.transform.diagonal]
        return float(stats.invwishart.logpdf(covariance, df, scale) + jacobian)

    def beside(value: np.ndarray) -> float:
        return _log_filled(
            filled, step.transform.to_covariance(value), prior_scale, float(prior_df)
        )

    for _ in range(MOVES):
        moved = start + state.rng.normal(0.0, 0.3, start.shape)
        change = state.change({step.value: moved})
        wanted = replace(change, value=change.value + beside(moved) - beside(start))
        yield step.value, wanted.misfit(implied(moved) - implied(start))


class _NoteFill(NoteNormals):
    """Notes what gammas are asked for; all that are drawn are one."""

    def standard_gamma(self, shape: float, size: int) -> np.ndarray:
        self.shape = shape
        return np.ones(size)


def _fill_misfits(step: CovarianceGibbs, state: State) -> Iterator[float]:
    """Scales are gamma draws; rows are filled in with m + A e, of log density -e'e / 2."""
    covariance = step.transform.to_covariance(np.asarray(state.point[step.value]))
    scale, df = (np.asarray(p) for p in step.prior(state.point))
    density, square = [], 0.0
    for size in (0.0, 1.0):
        numbers = _NoteFill(state.rng, size)
        with standing_in(step, "rng", numbers):
            filled = step.fill(state.point)
        density.append(_log_filled(filled, covariance, scale, float(df)))
        square = numbers.square
    rates = df * np.diag(np.linalg.inv(covariance)) + 1.0 / scale**2
    yield float(np.abs(filled.inverse_scales * rates - 1.0).max())
    yield float(abs(numbers.shape / (0.5 * (df + len(scale))) - 1.0))
    yield abs(density[1] - density[0] + 0.5 * square) / (0.5 * square + 1e-9)


def _log_filled(filled: Filled, covariance: np.ndarray, scale: np.ndarray, df: float) -> float:
    """Log density of what is drawn beside a covariance matrix, given it."""
    rates = df * np.diag(np.linalg.inv(covariance)) + 1.0 / scale**2
    shape = 0.5 * (df + len(scale))
    density = stats.gamma.logpdf(filled.inverse_scales, shape, scale=1.0 / rates).sum()
    for own, rows, _ in filled.rows:
        every = stats.multivariate_normal(np.zeros(len(scale)), covariance)
        known = stats.multivariate_normal(np.zeros(len(own)), covariance[np.ix_(own, own)])
        density += np.sum(every.logpdf(rows)) - np.sum(known.logpdf(rows[:, own]))
    return float(density)

"""Updates of hyper-parameters against the model: conjugate draws and slice updates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy import stats
from scipy.special import expit, softmax

from nnmm_pymc.checks.numbers import NoteParameters, standing_in
from nnmm_pymc.checks.reference import State
from nnmm_pymc.steps import conjugate as conjugate_module
from nnmm_pymc.steps import slice as slice_module
from nnmm_pymc.steps.conjugate import ConjugateGibbs
from nnmm_pymc.steps.families import Conjugate, Eta
from nnmm_pymc.steps.slice import SliceGibbs

__all__ = ["ELEMENTS", "MOVES", "SliceSpy", "conjugate_misfits", "slice_misfits"]

# Elements of one variable, and moves from a state, that are looked at.
ELEMENTS, MOVES = 5, 3

Density = Callable[[np.ndarray], float]


def conjugate_misfits(step: ConjugateGibbs, state: State) -> Iterator[tuple[str, float]]:
    """The distribution that the update asks its generator for, on the scale of the value."""
    step.conditional.refresh(state.point)
    for c, (eta, unit) in zip(step.conjugates, step.parameters(state.point), strict=True):
        density = _drawn_density(c, eta, unit)
        for _ in range(MOVES):
            start = np.asarray(state.point[c.value])
            moved = start + state.rng.normal(0, 0.5, start.shape)
            if density is None:
                yield c.value, np.inf
            else:
                implied = density(moved) - density(start)
                yield c.value, state.change({c.value: moved}).misfit(implied)


def _drawn_density(c: Conjugate, eta: Eta, unit: np.ndarray) -> Density | None:
    """Log density of the draw, or None if the numbers it is made from do not turn into it."""
    scales = []
    for given in (0.25, 0.4):
        numbers = NoteParameters(given)
        drawn = _natural(c, conjugate_module._draw(c, eta, unit, numbers))
        if c.statistics == (0, 1, 2) and [name for name, _ in numbers.asked] != ["wald"]:
            return _of_value(c, lambda v: _family_density(eta, v / unit))
        ((name, parameters),) = numbers.asked
        units = numbers.units(parameters[0].shape)
        if c.family == "simplex":
            scales.append(drawn / (units / units.sum(axis=-1, keepdims=True)))
        elif c.family == "probability":
            scales.append(drawn / units)
        else:
            scales.append(drawn / units if c.statistics == (0, 2) else drawn * units)
    scale = scales[0]
    known = 1.0 if c.family in ("simplex", "probability") else scale
    if not np.allclose(scales, known, rtol=1e-9, atol=0.0):
        return None
    return _of_value(c, lambda v: _named_density(name, c, parameters, scale, v))


def _named_density(
    name: str, c: Conjugate, parameters: list[np.ndarray], scale: np.ndarray, v: np.ndarray
) -> Any:
    if name == "beta":
        return stats.beta.logpdf(v, *parameters)
    if name == "wald":
        mean, shape = parameters
        return stats.invgauss.logpdf(scale / v, mean / shape, scale=shape) - 2.0 * np.log(v)
    (shape,) = parameters
    if c.family == "simplex":
        return (shape - 1.0) * np.log(v)
    family = stats.gamma if c.statistics == (0, 2) else stats.invgamma
    return family.logpdf(v, shape, scale=scale)


def _family_density(eta: Eta, v: np.ndarray) -> Any:
    """Generalised inverse Gaussian, up to a constant."""
    return eta[0] * np.log(v) - 0.5 * eta[1] / v - 0.5 * eta[2] * v


def _natural(c: Conjugate, value: np.ndarray) -> np.ndarray:
    if c.family == "positive":
        return np.exp(value)
    if c.family == "probability":
        return expit(value)
    return softmax(np.concatenate([value, -value.sum(axis=-1, keepdims=True)], axis=-1), axis=-1)


def _of_value(c: Conjugate, density: Callable[[np.ndarray], Any]) -> Density:
    """A density of the natural variable as one of its value variable, Jacobian included."""

    def of_value(value: np.ndarray) -> float:
        v = _natural(c, value)
        jacobian = np.sum(np.log(v))
        if c.family == "probability":
            jacobian += np.sum(np.log(expit(-value)))
        return float(np.sum(density(v)) + jacobian)

    return of_value


class SliceSpy:
    """Stands in for `slice_sample`: notes the density that is sampled and stays where it is."""

    start: np.ndarray
    log_density: Callable[[np.ndarray], np.ndarray]

    def __call__(self, start: Any, log_density: Any, *_: Any) -> np.ndarray:
        self.start, self.log_density = np.array(start), log_density
        return self.start


def slice_misfits(step: SliceGibbs, state: State) -> Iterator[tuple[str, float]]:
    """Moving one element changes its density by as much as that of the whole model."""
    (name,) = (v.name for v in step.vars)
    spy = SliceSpy()
    with standing_in(slice_module, "slice_sample", spy):
        step.step(state.point)
    elements = list(np.ndindex(spy.start.shape))
    for k in state.rng.choice(len(elements), min(ELEMENTS, len(elements)), replace=False):
        there = spy.start.copy()
        there[elements[k]] += state.rng.normal(0, 0.5)
        implied = (spy.log_density(there) - spy.log_density(spy.start))[elements[k]]
        yield name, state.change({name: there}).misfit(float(implied))

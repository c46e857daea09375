r"""Slab variances and inclusion probabilities from counts and sums of squares of the effects.

Each element e of such a variable governs some of the marker effects: those of one response, of one
group of markers, or all. Given the class of every effect (which normal it is from, or the spike),

- a variance, with the variances of the normals :math:`v_e r_{jc}`, gets the exponent
  :math:`-n_e/2` and the sum of :math:`a_j^2 / r_{jc}` over its :math:`n_e` effects that are not
  zero;
- an inclusion probability gets :math:`n_e` and the number of its effects that are zero;
- class probabilities get the number of effects in each class.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from pytensor.graph.traversal import ancestors
from scipy.special import logit

from nnmm_pymc.steps.conditional import QUICK_MODE, ConditionalModel, Point
from nnmm_pymc.steps.effect_prior import EffectPrior
from nnmm_pymc.steps.families import Conjugate, Eta, derivatives, natural_parameters, nodes

__all__ = ["EffectStatistics", "find_statistics"]


@dataclass(frozen=True, eq=False)
class EffectStatistics:
    """Natural parameters of a conjugate hyper-parameter from the marker effects alone.

    Attributes
    ----------
    family : {"positive", "probability", "simplex"}
    effects : str
        The marker effects.
    mixture : EffectPrior, optional
        Where their slab has several normals.
    prior : dict
        Natural parameters of the prior.
    group : int array in the shape of the effects, of a variance with an axis of normals behind it
        Which element of the variable governs an effect; the number of elements where none does.
    shape : tuple of int
        Of the variable; of a simplex without its last axis.
    relative : callable
        Of a variance: gives r of the module's formula at a point, in the shape of `group`.
    """

    family: str
    effects: str
    mixture: EffectPrior | None
    prior: Eta
    group: np.ndarray
    shape: tuple[int, ...]
    relative: Callable[[Point], np.ndarray]

    def parameters(self, point: Point) -> Eta:
        """Natural parameters at a point."""
        effects = point[self.effects]
        if self.family == "simplex":
            return {0: self.prior[0] + self._class_counts(effects)}
        if self.family == "probability":
            included = self._count(self.group.ravel()[np.flatnonzero(effects != 0.0)])
            return {0: self.prior[0] + included, 1: self.prior[1] + self._allowed - included}
        where = np.flatnonzero(effects != 0.0)
        chosen = 0 if self.mixture is None else self.mixture.classes.ravel()[where]
        place = where * self.group.shape[-1] + chosen
        index = self.group.ravel()[place]
        squares = effects.ravel()[where] ** 2 / self.relative(point).ravel()[place]
        n, total = self._count(index), self._count(index, squares)
        return {0: self.prior[0] - 0.5 * n, 1: self.prior[1] + total}

    @cached_property
    def _allowed(self) -> np.ndarray:
        """Effects that each element of an inclusion probability governs."""
        return self._count(self.group.ravel())

    def _count(self, index: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        size = int(np.prod(self.shape))
        return np.bincount(index, weights, minlength=size + 1)[:size].reshape(self.shape)

    def _class_counts(self, effects: np.ndarray) -> np.ndarray:
        n_classes, size = self.prior[0].shape[-1], int(np.prod(self.shape))
        own = self.mixture
        classes = (effects != 0.0) - 1 if own is None else own.classes
        first = n_classes - (1 if own is None else own.n_classes)
        index = np.ravel(self.group * n_classes + first + classes)
        counts = np.bincount(index, minlength=(size + 1) * n_classes)
        return counts[: size * n_classes].reshape(*self.shape, n_classes)


def find_statistics(conditional: ConditionalModel, c: Conjugate) -> EffectStatistics | None:
    """Statistics that give the natural parameters, if they do so at every check point."""
    own = conditional.rvs[c.value]
    names = set(conditional.factors_of(conditional.values[c.value])) - {own.name}
    effects = next((e for e in conditional.effects if names <= _factors(conditional, e)), None)
    simple = c.family != "positive" or c.statistics == (0, 1)
    hyper = set(ancestors(own.owner.inputs)) & set(conditional.conditional.basic_RVs)
    if effects is None or not simple or hyper:
        return None
    group, shape = _governed(conditional, c, effects)
    plain = Conjugate(c.value, c.family, c.statistics)
    position = conditional.factors_of(conditional.values[c.value]).index(own.name)
    gradients, natural = derivatives(conditional, c.value)
    function = conditional.compile(gradients, leading=[natural], mode=QUICK_MODE)
    relative = _relative_variances(conditional, c, effects, group)
    mixture = conditional.mixtures.get(effects)
    found: EffectStatistics | None = None
    for point in conditional.check_points:
        conditional.refresh(point)
        at = nodes(plain, point[c.value])
        values = [function(point, v) for v in at]
        unit = at[0] if c.family == "positive" else 1.0
        wanted, _ = natural_parameters(plain, at, [np.sum(v, axis=0) for v in values])
        if found is None:
            prior, _ = natural_parameters(plain, at, [v[position] for v in values])
            prior = {
                m: eta * unit if (c.family, m) == ("positive", 1) else eta
                for m, eta in prior.items()
            }
            found = EffectStatistics(c.family, effects, mixture, prior, group, shape, relative)
        given = found.parameters(point)
        if c.family == "positive":
            given[1] = given[1] / unit
        size = sum(np.abs(eta) for eta in wanted.values()) + 1.0
        if any(np.any(np.abs(given[m] - wanted[m]) > 1e-7 * size) for m in wanted):
            return None
    return found


def _factors(conditional: ConditionalModel, effects: str) -> set[str]:
    return set(conditional.effect_factors(effects))


def _governed(
    conditional: ConditionalModel, c: Conjugate, effects: str
) -> tuple[np.ndarray, tuple[int, ...]]:
    """Which effects each element of a variable governs: those whose prior moves as it does."""
    read = conditional.compile(conditional.effect_parameters(effects), mode=QUICK_MODE)
    point = conditional.check_points[0]
    start = np.asarray(point[c.value])
    shape = start.shape[:-1] if c.family == "simplex" else start.shape
    # Each element has a mark of its own, so that one look tells them apart.
    marks = np.linspace(0.3, 0.7, int(np.prod(shape)))
    own = marks.reshape(shape)
    effects_shape = np.shape(point[effects])
    if c.family == "positive":
        before, after = read(point)[1], read(point | {c.value: start + own})[1]
        seen = np.broadcast_to(np.log(after / before), (*effects_shape, after.shape[-1]))
    elif c.family == "probability":
        seen = np.broadcast_to(read(point | {c.value: logit(own)})[0][..., 0], effects_shape)
    else:
        n_classes = start.shape[-1] + 1
        first = n_classes - read(point)[0].shape[-1]
        row = np.repeat((1 - own)[..., None] / (n_classes - 1), n_classes, axis=-1)
        row[..., first] = own
        moved = (np.log(row) - np.log(row).mean(axis=-1, keepdims=True))[..., :-1]
        seen = np.broadcast_to(read(point | {c.value: moved})[0][..., 0], effects_shape)
    nearest = np.clip(np.searchsorted(marks, seen - 1e-9), 0, len(marks) - 1)
    return np.where(np.abs(seen - marks[nearest]) < 1e-8, nearest, len(marks)), shape


def _relative_variances(
    conditional: ConditionalModel, c: Conjugate, effects: str, group: np.ndarray
) -> Callable[[Point], np.ndarray]:
    """Variances of the effects over the variance that governs them; computed once if they stay."""
    variances = conditional.effect_parameters(effects)[1]
    read = conditional.compile([variances])

    def relative(point: Point) -> np.ndarray:
        value = np.append(np.exp(point[c.value]), 1.0) if c.family == "positive" else np.ones(1)
        return read(point)[0] / value[np.minimum(group, len(value) - 1)]

    others = set(ancestors([variances])) & set(conditional.values.values())
    if others - {conditional.values[c.value]}:
        return relative
    fixed = relative(conditional.check_points[0]) if c.family == "positive" else np.ones(1)
    return lambda point: fixed

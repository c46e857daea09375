"""Slab variances and inclusion probabilities from counts and sums of squares of the effects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pytensor.graph.traversal import ancestors

from nnmm_pymc.steps.conditional import QUICK_MODE, ConditionalModel, Point
from nnmm_pymc.steps.families import Conjugate, Eta, derivatives, natural_parameters, nodes

__all__ = ["EffectStatistics", "find_statistics"]


@dataclass(frozen=True, eq=False)
class EffectStatistics:
    """Natural parameters of a slab variance or inclusion probability from the effects alone.

    A variance gets ``-n/2`` and the sum of squares of the n effects that are not zero, a
    probability n and the number of the others; both added to what the prior contributes.
    """

    family: str
    effects: str
    prior: Eta
    allowed: np.ndarray
    axes: tuple[int, ...]

    def parameters(self, point: Point) -> Eta:
        """Natural parameters at a point."""
        effects = point[self.effects]
        included = np.sum(effects != 0.0, axis=self.axes)
        if self.family == "probability":
            return {0: self.prior[0] + included, 1: self.prior[1] + self.allowed - included}
        squares = np.sum(effects**2, axis=self.axes)
        return {0: self.prior[0] - 0.5 * included, 1: self.prior[1] + squares}


def find_statistics(conditional: ConditionalModel, c: Conjugate) -> EffectStatistics | None:
    """Statistics that give the natural parameters, if they do so at every check point."""
    own = conditional.rvs[c.value]
    names = set(conditional.factors_of(conditional.values[c.value])) - {own.name}
    term = next((t for t in conditional.terms if {t.effects} == names), None)
    simple = c.family == "probability" or c.statistics == (0, 1)
    if (
        term is None
        or not simple
        or set(ancestors(own.owner.inputs)) & set(conditional.conditional.basic_RVs)
    ):
        return None
    shape = np.shape(conditional.check_points[0][term.effects])
    kept = np.shape(conditional.check_points[0][c.value])
    if kept not in ((), shape[1:]):
        return None
    axes = (0,) if kept == shape[1:] else tuple(range(len(shape)))
    gradients, natural = derivatives(conditional, c.value)
    function = conditional.compile(gradients, leading=[natural], mode=QUICK_MODE)
    position = conditional.factors_of(conditional.values[c.value]).index(own.name)
    inclusion = conditional.conditional.replace_rvs_by_values(
        [conditional.rvs[term.effects].owner.inputs[2]]
    )
    weights = conditional.compile(inclusion, mode=QUICK_MODE)
    plain = Conjugate(c.value, c.family, c.statistics)
    found: EffectStatistics | None = None
    for point in conditional.check_points:
        at = nodes(plain, point[c.value])
        values = [function(point, v) for v in at]
        unit = at[0] if c.family == "positive" else 1.0
        wanted, _ = natural_parameters(plain, at, [np.sum(v, axis=0) for v in values])
        prior, _ = natural_parameters(plain, at, [v[position] for v in values])
        if found is None:
            allowed = np.broadcast_to(weights(point)[0][..., 0] > 0.0, shape).sum(axis=axes)
            scaled = prior if c.family == "probability" else {0: prior[0], 1: prior[1] * unit}
            found = EffectStatistics(c.family, term.effects, scaled, allowed, axes)
        given = found.parameters(point)
        size = np.abs(wanted[0]) + np.abs(wanted[1]) + 1.0
        for m, factor in ((0, 1.0), (1, 1.0 if c.family == "probability" else 1.0 / unit)):
            if np.any(np.abs(given[m] * factor - wanted[m]) > 1e-7 * size):
                return None
    return found

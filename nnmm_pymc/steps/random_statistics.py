r"""Variances of random effects from the sums of squares of the effects.

A variance :math:`\sigma^2` of n effects u with the precision :math:`Q/(r \sigma^2)` gets the
exponent :math:`-n/2` and the sum :math:`u'Qu/r`, both summed over the responses that share it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.traversal import ancestors

from nnmm_pymc.steps.conditional import QUICK_MODE, ConditionalModel, Point
from nnmm_pymc.steps.families import Conjugate, Eta, derivatives, natural_parameters, nodes

__all__ = ["RandomStatistics", "effect_variances", "find_random_statistics"]


@dataclass(frozen=True, eq=False)
class RandomStatistics:
    """Natural parameters of a variance from the random effects alone.

    Attributes
    ----------
    effects : str
    matrix : sparse array, optional
        Q.
    prior : dict
        Natural parameters of the prior.
    relative : (k,) array
        r of the module's formula, by response.
    shape : tuple of int
        Of the variance: one value for all responses, or one for each.
    """

    effects: str
    matrix: Any
    prior: Eta
    relative: np.ndarray
    shape: tuple[int, ...]

    def parameters(self, point: Point) -> Eta:
        """Natural parameters at a point."""
        effects = point[self.effects].reshape(-1, len(self.relative))
        products = effects if self.matrix is None else self.matrix @ effects
        squares = np.einsum("qk,qk->k", effects, products) / self.relative
        count = np.full(squares.shape, float(len(effects)))
        if int(np.prod(self.shape)) == 1:
            squares, count = squares.sum(), count.sum()
        return self.prior | {
            0: self.prior[0] - 0.5 * count.reshape(self.shape),
            1: self.prior[1] + squares.reshape(self.shape),
        }


def effect_variances(conditional: ConditionalModel, effects: str) -> Any:
    """Graph of the variance of every effect, (level, response)."""
    rv = conditional.rvs[effects]
    (variance,) = conditional.conditional.replace_rvs_by_values([rv.owner.inputs[2]])
    shape = conditional.check_points[0][effects].shape
    return pt.broadcast_to(variance, shape).reshape((shape[0], -1))


def find_random_statistics(conditional: ConditionalModel, c: Conjugate) -> RandomStatistics | None:
    """Statistics that give the natural parameters, if they do so at every check point."""
    own = conditional.rvs[c.value]
    names = set(conditional.factors_of(conditional.values[c.value])) - {own.name}
    terms = [t for t in conditional.random_terms if names == {t.effects}]
    hyper = set(ancestors(own.owner.inputs)) & set(conditional.conditional.basic_RVs)
    if not terms or not c.statistics or hyper:
        return None
    effects = terms[0].effects
    precision = conditional.rvs[effects].owner.op.precision
    first = conditional.check_points[0]
    shape, size = np.shape(first[c.value]), int(np.prod(first[effects].shape[1:]))
    if shape not in ((), first[effects].shape[1:]) and int(np.prod(shape)) != 1:
        return None
    read = conditional.compile([effect_variances(conditional, effects)], mode=QUICK_MODE)
    relative = read(first)[0][0] / np.broadcast_to(np.exp(first[c.value]).ravel(), size)
    gradients, natural = derivatives(conditional, c.value)
    function = conditional.compile(gradients, leading=[natural], mode=QUICK_MODE)
    position = conditional.factors_of(conditional.values[c.value]).index(own.name)
    plain = Conjugate(c.value, c.family, c.statistics)
    found: RandomStatistics | None = None
    for point in conditional.check_points:
        conditional.refresh(point)
        at = nodes(plain, point[c.value])
        values = [function(point, v) for v in at]
        wanted, unit = natural_parameters(plain, at, [np.sum(v, axis=0) for v in values])
        if found is None:
            prior, _ = natural_parameters(plain, at, [v[position] for v in values])
            units = {0: 1.0, 1: unit, 2: 1.0 / unit}
            prior = {m: np.asarray(eta * units[m]) for m, eta in prior.items()}
            matrix = None if precision is None else precision.matrix
            found = RandomStatistics(effects, matrix, prior, relative, shape)
        given = found.parameters(point)
        scaled = {0: wanted[0], 1: wanted[1] * unit, 2: wanted.get(2, np.zeros(())) / unit}
        if not all(np.allclose(given[m], scaled[m], rtol=1e-6, atol=1e-12) for m in given):
            return None
    return found

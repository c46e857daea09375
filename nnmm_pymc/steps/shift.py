r"""Joint move of an intercept (or slope) and the random effects whose mean it is.

Given the effects the intercept is known as well as from all records, and given the intercept so is
the mean of the effects, so drawing one after the other is slow. Along the line

.. math:: \mu + c, \qquad u - c 1

the likelihood does not change, and with normal priors c is normal: with precision
:math:`1'Q1/\sigma^2 + 1/s_0^2` and linear coefficient
:math:`1'Qu/\sigma^2 - (\mu - m_0)/s_0^2` (a generalised Gibbs step: Liu & Sabatti 2000, Biometrika
87:353). Effects on traits that correlate have :math:`(1'Q1) G^{-1}` and :math:`G^{-1} U'Q1`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor.tensor as pt
from pymc.distributions.continuous import FlatRV
from pytensor.graph.traversal import ancestors
from pytensor.tensor.random.basic import NormalRV

from nnmm_pymc.steps.conditional import QUICK_MODE, ConditionalModel, Point, PointFunction
from nnmm_pymc.steps.correlated import is_multivariate, multivariate_residual
from nnmm_pymc.steps.normals import normal_residuals
from nnmm_pymc.steps.terms import RandomTerm

__all__ = ["ShiftMove", "find_shift"]


class ShiftMove:
    """Draw of c for every response.

    Parameters
    ----------
    intercept : str
        Value variable of the intercept, or fixed slope.
    prior : PointFunction, optional
        Mean and sd of its normal prior; flat without one.
    matrix : sparse array, optional
        Q.
    n_levels : int
    """

    def __init__(self, intercept: str, prior: PointFunction | None, matrix: Any, n_levels: int):
        self.intercept, self.prior, self.matrix = intercept, prior, matrix
        ones = np.ones(n_levels)
        self.column_sums = ones if matrix is None else matrix @ ones

    def draw(
        self, point: Point, effects: np.ndarray, variance: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """c of every response, of effects and their variances by (level, response)."""
        precision = (self.column_sums[:, None] / variance).sum(axis=0)
        linear = (self.column_sums[:, None] * effects / variance).sum(axis=0)
        if self.prior is not None:
            mean, sd = self.prior(point)
            start = point[self.intercept]
            precision = precision + np.ravel(1.0 / sd**2)
            linear = linear - np.ravel((start - mean) / sd**2)
        return (linear + np.sqrt(precision) * rng.standard_normal(precision.shape)) / precision

    def draw_joint(
        self, point: Point, effects: np.ndarray, inverse: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """c of every trait, of effects (level, trait) whose covariance has this inverse."""
        precision = self.column_sums.sum() * inverse
        linear = inverse @ (self.column_sums @ effects)
        if self.prior is not None:
            mean, sd = self.prior(point)
            precision = precision + np.diag(np.ravel(1.0 / sd**2))
            linear = linear - np.ravel((point[self.intercept] - mean) / sd**2)
        lower = np.linalg.cholesky(precision)
        white = rng.standard_normal(len(linear))
        return np.linalg.solve(lower.T, np.linalg.solve(lower, linear) + white)


def find_shift(conditional: ConditionalModel, term: RandomTerm, matrix: Any) -> ShiftMove | None:
    """The intercept that the mean of random effects can be moved into, if there is one.

    A normal (or flat) variable with fixed parameters and one element for each response, that adds
    to every residual what the effect of its level adds to it, and stands in no other density.
    """
    factors = set(conditional.factors_of(term.held))
    size = int(np.prod(conditional.check_points[0][term.effects].shape[1:]))
    for value, variable in conditional.rvs.items():
        op = variable.owner.op
        if not isinstance(op, NormalRV | FlatRV):
            continue
        if set(conditional.factors_of(conditional.values[value])) != {*factors, variable.name}:
            continue
        random = set(conditional.conditional.basic_RVs)
        if set(ancestors(variable.owner.inputs)) & random:
            continue
        shape = conditional.check_points[0][value].shape
        if int(np.prod(shape)) == size and _adds_the_same(conditional, term, value):
            prior = None
            if isinstance(op, NormalRV):
                mean, sd = (p + pt.zeros(shape) for p in variable.owner.inputs[2:4])
                prior = conditional.compile([mean, sd])
            return ShiftMove(value, prior, matrix, term.levels.n_levels)
    return None


def _adds_the_same(conditional: ConditionalModel, term: RandomTerm, value: str) -> bool:
    """Whether a step of a variable and of all effects change every residual alike."""
    names = conditional.factors_of(term.held)
    if all(is_multivariate(conditional, name) for name in names):
        found: Any = [multivariate_residual(conditional, name) for name in names]
    else:
        found = normal_residuals(conditional, names)
    if not found:
        return False
    read = conditional.compile([e for e, _ in found], mode=QUICK_MODE)
    keep, same = term.held.get_value(), True
    for point in conditional.check_points:
        conditional.refresh(point)
        here = term.held.get_value()
        step = 1.0 + np.arange(np.size(point[value]))
        by_variable = read(point | {value: point[value] + step.reshape(np.shape(point[value]))})
        shape = np.shape(point[term.effects])
        all_effects = np.broadcast_to(step.reshape(shape[1:]), shape).copy()
        term.held.set_value(here + term.levels.of(all_effects))
        by_effects = read(point)
        pairs = zip(by_variable, by_effects, strict=True)
        same &= all(np.allclose(a, b, rtol=0, atol=1e-8) for a, b in pairs)
    term.held.set_value(keep)
    term.current = None
    return same

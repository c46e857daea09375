r"""`CovarianceGibbs`: exact draws of the covariance matrix of residuals or of marker effects.

Of every row (residuals of an individual, effects of a marker) some traits S are known, with the
density :math:`N(0, \Sigma_{SS})`. Given :math:`\Sigma` the rest of each row is drawn,

.. math:: e_U | e_S \sim N(\Sigma_{US} \Sigma_{SS}^{-1} e_S,\;
    \Sigma_{UU} - \Sigma_{US} \Sigma_{SS}^{-1} \Sigma_{SU}),

and so are the scales a that `HalfTCovariance` has integrated out; given these, with m rows,

.. math:: 1/a_t | \Sigma \sim Gamma((\nu + T)/2,\; \nu (\Sigma^{-1})_{tt} + A_t^{-2}), \quad
    \Sigma | \cdot \sim IW(\nu + T - 1 + m,\; 2 \nu\, \mathrm{diag}(1/a) + \textstyle\sum e e')

(Huang & Wand 2013, Bayesian Anal 8:439, section 4). Neither outlives the update, so that nothing
but :math:`\Sigma` is part of the state. Markers without any effect say nothing of it; random
effects U of n levels with the precision Q say U'QU, and n.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from pytensor.graph.traversal import ancestors

from nnmm_pymc.covariance import CholeskyScale, HalfTCovarianceRV, inverse_wishart
from nnmm_pymc.joint_effects import pattern_codes, patterns_of
from nnmm_pymc.joint_random_effects import JointRandomEffectsRV
from nnmm_pymc.steps.conditional import QUICK_MODE, ConditionalModel, Point, PointFunction
from nnmm_pymc.steps.correlated import is_multivariate, multivariate_residual
from nnmm_pymc.steps.gibbs import GibbsStep
from nnmm_pymc.steps.linear import read_residuals

__all__ = ["CovarianceGibbs", "Filled", "find_rows", "read_half_t"]

# Some traits, of some rows their values (row, trait), and the number of rows. Rows that are all
# known may be others with the same products.
Rows = tuple[np.ndarray, np.ndarray, int]


@dataclass(frozen=True, eq=False)
class Filled:
    """What is drawn beside a covariance matrix: 1/a, and the unknown part of every row.

    Attributes
    ----------
    inverse_scales : (T,) array
    rows : list of ((S,) array, (row, T) array, int)
        Traits that are known, rows with all traits, and how many rows there are.
    """

    inverse_scales: np.ndarray
    rows: list[Rows]


def find_rows(conditional: ConditionalModel, value: str) -> list[Callable[[Point], list[Rows]]]:
    """Readers of all rows that have a covariance matrix, none if it stands anywhere else.

    Parameters
    ----------
    conditional : ConditionalModel
    value : str
        Value variable of a `HalfTCovariance`.
    """
    own = conditional.rvs[value]
    if not isinstance(own.owner.op, HalfTCovarianceRV):
        return []
    names = [n for n in conditional.factors_of(conditional.values[value]) if n != own.name]
    found: list[Callable[[Point], list[Rows]]] = []
    for name in names:
        reader = None
        if name in conditional.joint_effects:
            reader = _effects(conditional, name, value)
        elif name in {t.effects for t in conditional.random_terms}:
            reader = _random(conditional, name, value)
        elif is_multivariate(conditional, name):
            reader = _residuals(conditional, name, value)
        if reader is None:
            return []
        found.append(reader)
    return found


def _residuals(conditional, name: str, value: str) -> Callable[[Point], list[Rows]] | None:
    """Residuals of a multivariate normal variable, of some of the traits."""
    residual, covariance = multivariate_residual(conditional, name)
    traits = _traits(conditional, covariance, value)
    if traits is None or conditional.values[value] in set(ancestors([residual])):
        return None
    read = read_residuals(conditional, {name: residual}) or conditional.compile([residual])

    def rows(point: Point) -> list[Rows]:
        known = read(point)[0].reshape(-1, len(traits))
        return [(traits, known, len(known))]

    return rows


def _random(conditional, name: str, value: str) -> Callable[[Point], list[Rows]] | None:
    """Random effects U: T rows whose products are U'QU, in the place of the n levels."""
    rv: Any = conditional.rvs[name]
    if not isinstance(rv.owner.op, JointRandomEffectsRV):
        return None
    (covariance,) = conditional.conditional.replace_rvs_by_values([rv.owner.inputs[2]])
    traits, precision = _traits(conditional, covariance, value), rv.owner.op.precision
    if traits is None:
        return None

    def rows(point: Point) -> list[Rows]:
        effects = point[name]
        products = effects if precision is None else precision.matrix @ effects
        spread, directions = np.linalg.eigh(effects.T @ products)
        root = np.sqrt(np.maximum(spread, 0.0))[:, None] * directions.T
        return [(traits, root, len(effects))]

    return rows


def _effects(conditional, name: str, value: str) -> Callable[[Point], list[Rows]] | None:
    """Effects of the markers that have any, pattern by pattern."""
    rv: Any = conditional.rvs[name]
    probabilities, covariance = conditional.conditional.replace_rvs_by_values(
        [rv.owner.inputs[2], rv.owner.inputs[4]]
    )
    traits = _traits(conditional, covariance, value)
    if traits is None or conditional.values[value] in set(ancestors([probabilities])):
        return None
    members = [np.flatnonzero(p) for p in patterns_of(rv) if p.any()]

    def rows(point: Point) -> list[Rows]:
        effects = point[name]
        code = pattern_codes(effects != 0.0)
        parts = [(own, effects[code == np.sum(1 << own)][:, own]) for own in members]
        return [(own, known, len(known)) for own, known in parts]

    return rows


def _traits(conditional, covariance: Any, value: str) -> np.ndarray | None:
    """Traits of which a matrix is the covariance, if it is a part of the variable as it stands."""
    read = conditional.compile([covariance, conditional.natural(value)], mode=QUICK_MODE)
    traits = None
    for point in conditional.check_points:
        part, whole = read(point)
        if traits is None:
            traits = np.array([int(np.argmin(np.abs(np.diag(whole) - d))) for d in np.diag(part)])
        if not np.allclose(part, whole[np.ix_(traits, traits)], rtol=1e-9, atol=0.0):
            return None
    return traits


def read_half_t(conditional: ConditionalModel, value: str) -> tuple[CholeskyScale, PointFunction]:
    """Transform of a `HalfTCovariance`, and a reader of its scales and degrees of freedom."""
    rv: Any = conditional.rvs[value]
    transform: Any = conditional.conditional.rvs_to_transforms[rv]
    inputs = conditional.conditional.replace_rvs_by_values(list(rv.owner.inputs[2:4]))
    return transform, conditional.compile(inputs)


class CovarianceGibbs(GibbsStep):
    """Exact draw of a `HalfTCovariance` given all residuals or effects that have it.

    Parameters
    ----------
    vars : list of variable
        One.
    rows : list of callable
        From `find_rows`.
    model, conditional
        As in `MarkerGibbs`.
    """

    name = "covariance_gibbs"

    def __init__(self, vars, *, rows, conditional: ConditionalModel, **kwargs: Any):
        super().__init__(vars, conditional=conditional, **kwargs)
        self.value, self.rows = self.vars[0].name, rows
        self.transform, self.prior = read_half_t(conditional, self.value)

    def fill(self, point: Point) -> Filled:
        """Draw everything that is not known beside the matrix, given it."""
        covariance = self.transform.to_covariance(point[self.value])
        scale, df = self.prior(point)
        rates = df * np.diag(np.linalg.inv(covariance)) + 1.0 / scale**2
        shape = 0.5 * (df + len(scale))
        inverse_scales = self.rng.standard_gamma(shape, len(scale)) / rates
        parts = [part for read in self.rows for part in read(point)]
        full = [(own, self._complete(own, known, covariance), count) for own, known, count in parts]
        return Filled(inverse_scales, full)

    def _complete(self, own: np.ndarray, known: np.ndarray, covariance: np.ndarray) -> np.ndarray:
        rest = np.setdiff1d(np.arange(len(covariance)), own)
        full = np.empty((len(known), len(covariance)))
        full[:, own] = known
        if len(rest):
            slopes = np.linalg.solve(covariance[np.ix_(own, own)], covariance[np.ix_(own, rest)])
            spread = covariance[np.ix_(rest, rest)] - covariance[np.ix_(rest, own)] @ slopes
            noise = self.rng.standard_normal((len(known), len(rest)))
            full[:, rest] = known @ slopes + noise @ np.linalg.cholesky(spread).T
        return full

    def parameters(self, point: Point, filled: Filled) -> tuple[float, np.ndarray]:
        """Degrees of freedom and scale of the inverse Wishart."""
        scale, df = self.prior(point)
        total = np.diag(2.0 * df * filled.inverse_scales)
        for _, rows, _ in filled.rows:
            total += rows.T @ rows
        count = sum(count for *_, count in filled.rows)
        return float(df) + len(scale) - 1.0 + count, total

    def step(self, point):
        self.conditional.refresh(point)
        df, scale = self.parameters(point, self.fill(point))
        drawn = inverse_wishart(df, scale, self.rng)
        return point | {self.value: self.transform.to_value(drawn)}, [{}]

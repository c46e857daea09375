r"""`LiabilityGibbs`: the Gaussian values behind binary, ordinal and censored records.

Given the rest each liability is normal between its bounds, and is drawn by the inverse of its
distribution function. Cutpoints between ordered categories are drawn before, with the liabilities
integrated out,

.. math:: p(c \mid \mu) \propto p(c) \prod_i [\Phi(c_{y_i} - \mu_i) - \Phi(c_{y_i - 1} - \mu_i)]

by slice sampling (Nandram & Chen 1996, J Stat Comput Simul 54:129, on why not given them).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pymc as pm
from pymc.step_methods.compound import BlockedStep, StepMethodState
from pymc.step_methods.state import dataclass_state
from pymc.util import get_value_vars_from_user_vars
from scipy.special import log_ndtr

from nnmm_pymc.steps.bounds import Liability, truncated_normal
from nnmm_pymc.steps.conditional import ConditionalModel, Point
from nnmm_pymc.steps.normals import normal_residuals

__all__ = ["LiabilityGibbs"]

# Width of the first interval of the slice, on the log scale, and most steps out of it.
WIDTH, STEPS_OUT = 0.1, 8


@dataclass_state
class LiabilityGibbsState(StepMethodState):
    pass


class LiabilityGibbs(BlockedStep):
    """Exact draw of liabilities between their bounds, and of the cutpoints that are unknown.

    Parameters
    ----------
    vars : list of variable
        The liabilities, then the gaps between cutpoints if there are any.
    liability : Liability
    model, conditional
        As in `MarkerGibbs`.
    """

    name = "liability_gibbs"
    default_blocked = True
    stats_dtypes_shapes: ClassVar[dict[str, Any]] = {}
    _state_class = LiabilityGibbsState

    def __init__(
        self,
        vars,
        *,
        liability: Liability,
        conditional: ConditionalModel,
        model=None,
        blocked: bool = True,
        rng=None,
    ):
        model = pm.modelcontext(model)
        self.vars = get_value_vars_from_user_vars(vars, model)
        self.rng = np.random.default_rng(rng)
        self.conditional, self.liability = conditional, liability
        normals = normal_residuals(conditional, [conditional.rvs[liability.name].name])
        assert normals is not None
        self.read = conditional.compile(list(normals[0]))
        self.prior = None
        if liability.gaps is not None:
            factor = conditional.factors[conditional.rvs[liability.gaps].name]
            self.prior = conditional.compile([factor.sum()])

    def step(self, point):
        self.conditional.refresh(point)
        point = point.copy()
        residual, sd = self.read(point)
        mean = point[self.liability.name] - residual
        if self.liability.gaps is not None:
            point[self.liability.gaps] = self._drawn_gaps(point, mean, sd)
        lower, upper = self.liability.bounds(point)
        uniform = self.rng.random(mean.shape)
        point[self.liability.name] = truncated_normal(mean, sd, lower, upper, uniform)
        return point, [{}]

    def log_density(self, point: Point, mean: np.ndarray, sd: np.ndarray) -> float:
        """Log density of the gaps (logarithms) with the liabilities integrated out."""
        assert self.prior is not None and self.liability.gaps is not None
        low, high = ((b - mean) / sd for b in self.liability.bounds(point))
        mirrored = low > 0
        low, high = np.where(mirrored, -high, low), np.where(mirrored, -low, high)
        below, above = log_ndtr(low), log_ndtr(high)
        with np.errstate(divide="ignore"):
            inside = above + np.log1p(-np.exp(below - above))
        jacobian = point[self.liability.gaps].sum()
        return float(inside.sum() + self.prior(point)[0] + jacobian)

    def _drawn_gaps(self, point: Point, mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
        """One slice update of each gap (Neal 2003, Ann Stat 31:705, stepping out)."""
        name = self.liability.gaps
        assert name is not None
        gaps = np.array(point[name])

        def density(k: int, at: float) -> float:
            moved = gaps.copy()
            moved[k] = at
            return self.log_density(point | {name: moved}, mean, sd)

        for k in range(len(gaps)):
            gaps[k] = _slice(lambda at: density(k, at), gaps[k], self.rng)  # noqa: B023
        return gaps


def _slice(density: Callable[[float], float], start: float, rng: np.random.Generator) -> float:
    level = density(start) - rng.standard_exponential()
    left = start - WIDTH * rng.random()
    right = left + WIDTH
    to_left = rng.integers(0, STEPS_OUT + 1)
    for _ in range(to_left):
        if density(left) <= level:
            break
        left -= WIDTH
    for _ in range(STEPS_OUT - to_left):
        if density(right) <= level:
            break
        right += WIDTH
    while True:
        at = left + (right - left) * rng.random()
        if density(at) >= level:
            return at
        left, right = (at, right) if at < start else (left, at)

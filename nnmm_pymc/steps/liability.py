r"""`LiabilityGibbs`: the Gaussian values behind binary, ordinal and censored records.

Given the rest each liability is normal between its bounds, and is drawn by the inverse of its
distribution function. Cutpoints between ordered categories are drawn before, with the liabilities
integrated out,

.. math:: p(c \mid \mu) \propto p(c) \prod_i [\Phi(c_{y_i} - \mu_i) - \Phi(c_{y_i - 1} - \mu_i)]

by slice sampling (Nandram & Chen 1996, J Stat Comput Simul 54:129, on why not given them).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from scipy.special import log_ndtr

from nnmm_pymc.kernels.slice import slice_sample
from nnmm_pymc.steps.bounds import Liability, truncated_normal
from nnmm_pymc.steps.conditional import ConditionalModel, Point
from nnmm_pymc.steps.gibbs import GibbsStep
from nnmm_pymc.steps.normals import normal_residuals

__all__ = ["LiabilityGibbs"]

# Width of the first interval of the slice, on the log scale.
WIDTH = 0.1


class LiabilityGibbs(GibbsStep):
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

    def __init__(
        self,
        vars,
        *,
        liability: Liability,
        conditional: ConditionalModel,
        **kwargs: Any,
    ):
        super().__init__(vars, conditional=conditional, **kwargs)
        self.liability = liability
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

        def density(k: int, at: np.ndarray) -> np.ndarray:
            moved = gaps.copy()
            moved[k] = at
            return np.asarray(self.log_density(point | {name: moved}, mean, sd))

        for k in range(len(gaps)):
            gaps[k] = slice_sample(gaps[k], partial(density, k), self.rng, WIDTH)
        return gaps

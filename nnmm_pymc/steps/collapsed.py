r"""One response of a term of relatives, with the effects nested in its levels integrated out.

Records of an individual see the sum of its additive effect and its permanent environment. With the
latter, p of variance :math:`s`, integrated out, the records of one level j of p (precisions w,
working responses :math:`\eta`: residuals with both effects added back) say of the effect u of its
individual as much as one record with

.. math:: D_j = \kappa_j \sum w, \quad E_j = \kappa_j \sum w \eta, \qquad
          \kappa_j = 1 / (1 + s \sum w),

so that u has the precision :math:`C = \mathrm{diag}(D) + Q / \sigma^2` and the mean
:math:`m = C^{-1} E` (Searle, Casella & McCulloch 1992, Variance Components, section 7.4).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from nnmm_pymc.kernels.sparse import conjugate_gradients

__all__ = ["Collapsed"]

# The centre may be any function of the variances: a rough solution costs acceptance, never truth.
ROUGH, MOST_ITERATIONS = 3e-4, 500


@dataclass(frozen=True, eq=False)
class Collapsed:
    """What the data say of the effects of one response, at some variances.

    Attributes
    ----------
    matrix : (n, n) sparse array
        Q.
    own : (n,) array
        Its diagonal.
    parent : (m,) array of int
        Level of u in which each level of p is nested, -1 for none; or ``arange(n)``.
    weight, product : (m,) arrays
        Sums of w and of w eta, before anything is integrated out.
    square, count : float
        Sum of w eta^2, and number of records.
    variance : float
        Of u.
    nested : (m,) array
        Variances s of p; 0 where there is no such term.
    log_records : float
        Logarithm of the factor by which the variances of the records were scaled.
    """

    matrix: Any
    own: np.ndarray
    parent: np.ndarray
    weight: np.ndarray
    product: np.ndarray
    square: float
    count: int
    variance: float
    nested: np.ndarray
    log_records: float = 0.0

    def scaled(self, factors: np.ndarray) -> Collapsed:
        """The same with the variances of u, p and the records times these factors."""
        outer, inner, records = factors
        return replace(
            self,
            weight=self.weight / records,
            product=self.product / records,
            square=self.square / records,
            variance=self.variance * outer,
            nested=self.nested * inner,
            log_records=self.log_records + np.log(records),
        )

    @cached_property
    def shrinkage(self) -> np.ndarray:
        """kappa."""
        return 1.0 / (1.0 + self.nested * self.weight)

    def _summed(self, values: np.ndarray) -> np.ndarray:
        # Those without a parent are counted behind the last one.
        n = len(self.own)
        index = np.where(self.parent < 0, n, self.parent)
        return np.bincount(index, values, n + 1)[:-1]

    @cached_property
    def diagonal(self) -> np.ndarray:
        """D, by level of u."""
        return self._summed(self.shrinkage * self.weight)

    @cached_property
    def linear(self) -> np.ndarray:
        """E, by level of u."""
        return self._summed(self.shrinkage * self.product)

    @cached_property
    def centre(self) -> np.ndarray:
        """m, nearly."""
        q, found = self.matrix, np.zeros(len(self.own))
        system = (q.indptr, q.indices, q.data, 1.0 / self.variance, self.diagonal, self.linear)
        conjugate_gradients(*system, found, ROUGH, MOST_ITERATIONS)
        return found

    @cached_property
    def spread(self) -> np.ndarray:
        """Standard deviations of each effect given the others."""
        return 1.0 / np.sqrt(self.diagonal + self.own / self.variance)

    def log_density(self, u: np.ndarray) -> float:
        """Of effects u and records, but for a constant that no variance changes."""
        gain = self.nested @ (self.shrinkage * self.product**2) - self.square
        records = np.log(self.shrinkage).sum() + gain - self.count * self.log_records
        square = u @ (self.diagonal * u + (self.matrix @ u) / self.variance)
        return 0.5 * (records - square - len(u) * np.log(self.variance)) + self.linear @ u

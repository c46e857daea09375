"""A weak and proper prior of covariance matrices: of traits' residuals, or of marker effects."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor.tensor as pt
from pymc.distributions.dist_math import check_parameters
from pymc.distributions.distribution import Continuous, SymbolicRandomVariable, _support_point
from pymc.distributions.transforms import _default_transform
from pymc.logprob.abstract import _logprob
from pymc.logprob.transforms import Transform
from pymc.pytensorf import normalize_rng_param
from pytensor.tensor.random.basic import gamma, normal
from pytensor.tensor.random.utils import normalize_size_param
from scipy.linalg import solve_triangular
from scipy.special import gammaln

from nnmm_pymc.priors import CovariancePrior

__all__ = ["CholeskyScale", "HalfTCovariance", "HalfTCovarianceRV", "inverse_wishart"]


def inverse_wishart(df: float, scale: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    r"""Draw a covariance matrix with density proportional to

    .. math:: |\Sigma|^{-(df+T+1)/2} \exp(-\mathrm{tr}(S \Sigma^{-1}) / 2)

    The precision is a Wishart draw by Bartlett's decomposition (Smith & Hocking 1972, Appl Stat
    21:341).

    Parameters
    ----------
    df : float
        Above T - 1.
    scale : (T, T) array
        S.
    rng : Generator
    """
    size = len(scale)
    bartlett = np.tril(rng.standard_normal((size, size)), -1)
    bartlett += np.diag(np.sqrt(2.0 * rng.standard_gamma(0.5 * (df - np.arange(size)))))
    root = solve_triangular(bartlett, np.linalg.cholesky(scale).T, lower=True)
    return root.T @ root


class HalfTCovarianceRV(SymbolicRandomVariable):
    """Random variable behind `HalfTCovariance`; its parameters are the scales and df."""

    name = "half_t_covariance"
    extended_signature = "[rng],[size],(t),()->[rng],(t,t)"
    _print_name = ("HalfTCovariance", "\\operatorname{HalfTCovariance}")

    @classmethod
    def rv_op(cls, scale, df, *, size=None, rng=None):
        rng, size = normalize_rng_param(rng), normalize_size_param(size)
        n_traits = scale.type.shape[0]
        next_rng, inverse = gamma(0.5, scale=1.0, size=(n_traits,), rng=rng, return_next_rng=True)
        shapes = 0.5 * (df + n_traits - 1.0 - np.arange(n_traits))
        next_rng, squares = gamma(shapes, scale=1.0, rng=next_rng, return_next_rng=True)
        lower = (n_traits, n_traits)
        next_rng, white = normal(size=lower, rng=next_rng, return_next_rng=True)
        # As `inverse_wishart`, of a precision that is a gamma draw times the squared scale.
        bartlett = pt.tril(white, -1) + pt.diag(pt.sqrt(2.0 * squares))
        sd = pt.diag(scale * pt.sqrt(2.0 * df * inverse))
        root = pt.linalg.solve_triangular(bartlett, sd, lower=True)
        inner = [rng, size, scale, df]
        return cls(inputs=inner, outputs=[next_rng, root.T @ root])(*inner)


class HalfTCovariance(Continuous):
    r"""Covariance matrix whose standard deviations are half-t, with correlations around zero.

    .. math::
        \Sigma | a \sim IW(\nu + T - 1,\; 2\nu\, \mathrm{diag}(1/a)), \quad
        a_t \sim InverseGamma(1/2, 1/A_t^2)

    Each standard deviation is half-t with :math:`\nu` degrees of freedom and scale :math:`A_t`, and
    each correlation has a density proportional to :math:`(1 - \rho^2)^{\nu/2 - 1}`: with
    :math:`\nu = 2` it is uniform, for any number of traits. Unlike an inverse Wishart it holds no
    standard deviation away from zero and ties none to a correlation. With a integrated out,

    .. math::
        p(\Sigma) \propto |\Sigma|^{-(\nu + 2T)/2} \prod_t \left(\nu (\Sigma^{-1})_{tt} + A_t^{-2}
        \right)^{-(\nu + T)/2}

    with respect to the distinct elements of :math:`\Sigma`.

    Parameters
    ----------
    name : str, optional
        Without one a description is returned, for the priors of an `Equation`.
    scale : (T,) tensor_like
        A.
    df : tensor_like, default 2
        :math:`\nu`.
    dims : tuple of str
        Two dims of T names.

    References
    ----------
    Huang, Wand (2013) Bayesian Anal 8:439, equations 2 and 3.

    Examples
    --------
    >>> import pymc as pm
    >>> with pm.Model():
    ...     covariance = HalfTCovariance("covariance", scale=[1.0, 2.0])
    """

    rv_type = HalfTCovarianceRV
    rv_op = HalfTCovarianceRV.rv_op

    def __new__(cls, name: str | None = None, *args: Any, **kwargs: Any):
        if name is None:
            return CovariancePrior(*args, **kwargs)
        return super().__new__(cls, name, *args, **kwargs)

    @classmethod
    def dist(cls, scale, df=2.0, **kwargs):
        scale = pt.atleast_1d(pt.as_tensor(scale)).astype("float64")
        return super().dist([scale, pt.as_tensor(df).astype("float64")], **kwargs)


@_support_point.register(HalfTCovarianceRV)
def _covariance_support_point(op, rv, rng, size, scale, df):
    return pt.diag(scale**2)


@_logprob.register(HalfTCovarianceRV)
def _covariance_logprob(op, values, rng, size, scale, df, **kwargs):
    (value,) = values
    n_traits = scale.type.shape[0]
    lower = pt.linalg.cholesky(value)
    log_det = 2.0 * pt.sum(pt.log(pt.diagonal(lower)))
    inverse = pt.linalg.solve_triangular(lower, pt.eye(n_traits), lower=True)
    rates = df * pt.sum(inverse**2, axis=0) + 1.0 / scale**2
    density = (
        _log_constant(scale, df, n_traits)
        - 0.5 * (df + 2.0 * n_traits) * log_det
        - 0.5 * (df + n_traits) * pt.sum(pt.log(rates))
    )
    return check_parameters(density, pt.all(scale > 0.0), df > 0.0, msg="scale > 0, df > 0")


def _log_constant(scale: Any, df: Any, n_traits: int) -> Any:
    """Of the inverse Wishart, and of the gammas before and after a is integrated out."""
    shape, own = 0.5 * (df + n_traits - 1.0), 0.5 * (df + n_traits)
    steps = np.arange(n_traits)
    multivariate = 0.25 * n_traits * (n_traits - 1.0) * np.log(np.pi)
    multivariate = multivariate + pt.sum(pt.gammaln(shape - 0.5 * steps))
    gammas = n_traits * (pt.gammaln(own) - gammaln(0.5)) - pt.sum(pt.log(scale))
    return n_traits * shape * pt.log(df) - multivariate + gammas


class CholeskyScale(Transform):
    r"""Rows of the Cholesky factor of a covariance matrix, its diagonal on the log scale."""

    name = "cholesky"
    ndim_supp = 1

    def __init__(self, n_traits: int):
        self.n_traits = n_traits
        self.rows, self.columns = np.tril_indices(n_traits)
        self.diagonal = np.flatnonzero(self.rows == self.columns)

    def forward(self, value, *inputs):
        flat = pt.linalg.cholesky(value)[self.rows, self.columns]
        return pt.set_subtensor(flat[self.diagonal], pt.log(flat[self.diagonal]))

    def backward(self, value, *inputs):
        value = pt.set_subtensor(value[self.diagonal], pt.exp(value[self.diagonal]))
        square = pt.zeros((self.n_traits, self.n_traits))
        lower = pt.set_subtensor(square[self.rows, self.columns], value)
        return lower @ lower.T

    def log_jac_det(self, value, *inputs):
        powers = self.n_traits + 1.0 - np.arange(self.n_traits)
        return self.n_traits * np.log(2.0) + pt.sum(powers * value[self.diagonal])

    def to_value(self, covariance: np.ndarray) -> np.ndarray:
        """`forward` of numbers."""
        flat = np.linalg.cholesky(covariance)[self.rows, self.columns]
        flat[self.diagonal] = np.log(flat[self.diagonal])
        return flat

    def to_covariance(self, value: np.ndarray) -> np.ndarray:
        """`backward` of numbers."""
        lower = np.zeros((self.n_traits, self.n_traits))
        lower[self.rows, self.columns] = value
        np.fill_diagonal(lower, np.exp(value[self.diagonal]))
        return lower @ lower.T


@_default_transform.register(HalfTCovarianceRV)
def _half_t_covariance_transform(op, rv):
    return CholeskyScale(int(rv.type.shape[-1]))

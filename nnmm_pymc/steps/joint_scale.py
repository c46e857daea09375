r"""Joint move of the standard deviations of joint effects and the effects that they scale.

As in `nnmm_pymc.steps.scale`, trait by trait: with :math:`b_t = c\,b_t`, and row and column t of
the covariance matrix G times c, the density of the effects and the volume of what is scaled cancel,
and c has the density

.. math:: p(G(c))\, c^{T+1}\, L(c), \quad
    \log L(c) = (c-1) B - (c-1)^2 A / 2

on the log scale, with :math:`A = \sum g_t^2 \Omega_{tt}` and :math:`B = \sum g_t (\Omega e)_t` over
the individuals, g the genetic values and e the residuals.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nnmm_pymc.covariance import HalfTCovarianceRV
from nnmm_pymc.kernels.slice import slice_sample
from nnmm_pymc.steps.conditional import ConditionalModel, Point
from nnmm_pymc.steps.covariance import find_rows, read_half_t

__all__ = ["JointScale", "find_joint_scale"]


class JointScale:
    """Draw of the standard deviations of G given the scaled-out effects.

    Parameters
    ----------
    conditional : ConditionalModel
    covariance : str
        Value variable of G.
    """

    def __init__(self, conditional: ConditionalModel, covariance: str):
        self.covariance = covariance
        self.transform, self.prior = read_half_t(conditional, covariance)

    def log_prior(self, point: Point, covariance: np.ndarray, trait: int) -> Any:
        """Log density of log c, without the likelihood."""
        scale, df = self.prior(point)
        inverse = np.diag(np.linalg.inv(covariance))
        n_traits = len(scale)

        def density(log_factor: np.ndarray) -> np.ndarray:
            own = df * inverse[trait] * np.exp(-2.0 * log_factor) + 1.0 / scale[trait] ** 2
            # |G| grows with c^2, G's own volume with c^(T + 1).
            power = n_traits + 1.0 - (df + 2.0 * n_traits)
            return power * log_factor - 0.5 * (df + n_traits) * np.log(own)

        return density

    def move(
        self,
        point: Point,
        value: np.ndarray,
        residual: np.ndarray,
        omega: np.ndarray,
        group: np.ndarray,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """Put a draw into the point, in place; returns the factors of the effects.

        Parameters
        ----------
        value : (n, T) array
            Genetic values.
        residual : (T, n) array
        omega, group
            As in `nnmm_pymc.kernels.joint.joint_sweep`.
        """
        covariance = self.transform.to_covariance(point[self.covariance])
        factors = np.ones(len(covariance))
        crossed, squared = _sums(value, residual, omega, group)
        for t in range(len(factors)):
            # What the factors drawn before have changed.
            linear = crossed[t] - squared[t] @ (factors - 1.0)
            prior = self.log_prior(point, covariance, t)

            def density(at, linear=linear, square=squared[t, t], prior=prior):
                away = np.expm1(at)
                return prior(at) + away * linear - 0.5 * away**2 * square

            factors[t] = np.exp(slice_sample(np.zeros(1), density, rng)[0])
            covariance[t] *= factors[t]
            covariance[:, t] *= factors[t]
        point[self.covariance] = self.transform.to_value(covariance)
        return factors


def _sums(value, residual, omega, group) -> tuple[np.ndarray, np.ndarray]:
    """B of every trait, and the sums of ``g_t Omega_ts g_s`` over the individuals."""
    crossed, squared = np.zeros(len(residual)), np.zeros((len(residual),) * 2)
    for g, own in enumerate(omega):
        rows = slice(None) if len(omega) == 1 else group == g
        values, errors = value[rows], residual[:, rows].astype(float)
        crossed += np.sum(own * (values.T @ errors.T), axis=1)
        squared += own * (values.T @ values)
    return crossed, squared


def find_joint_scale(conditional: ConditionalModel, effects: str) -> JointScale | None:
    """The covariance matrix of joint effects, if it is a `HalfTCovariance` of nothing else."""
    for value, rv in conditional.rvs.items():
        own = {rv.name, effects}
        if isinstance(rv.owner.op, HalfTCovarianceRV) and own == set(
            conditional.factors_of(conditional.values[value])
        ):
            return JointScale(conditional, value) if find_rows(conditional, value) else None
    return None

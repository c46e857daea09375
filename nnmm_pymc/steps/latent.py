r"""Exact draw of the missing cells of an omics layer that acts linearly on the traits.

Given everything else the missing cells z of an individual are Gaussian: prior mean m and variances
D from the markers, and traits :math:`y = \eta + W' z + \epsilon`, :math:`\epsilon \sim N(0, R)`.
Matheron's rule (Hoffman & Ribak 1991, Astrophys J 380:L5) turns a draw from the prior into one from
the posterior:

.. math:: z = z^* + D W (W' D W + R)^{-1} (y - \eta - W' z^* - \epsilon^*)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nnmm_pymc.steps.fused import FusedDensity
from nnmm_pymc.steps.gibbs import GibbsStep

__all__ = ["LatentGibbs"]


class LatentGibbs(GibbsStep):
    """Joint draw of all missing cells, individual by individual, for an identity activation.

    Parameters
    ----------
    vars : list of variable
        The missing cells.
    density : FusedDensity
        Of the standard network, checked against the model.
    """

    name = "latent_gibbs"

    def __init__(self, vars, *, density: FusedDensity, **kwargs: Any):
        super().__init__(vars, conditional=density.conditional, **kwargs)
        self.density = density

    def step(self, point):
        density, net = self.density, self.density.network
        self.conditional.refresh(point)
        density.prepare(point)
        middle, trait, weights = density.coefficients(point)
        rows, columns = density.cell_rows, density.latent_columns
        sd = 1.0 / np.sqrt(density.held.middle_precision)[columns]
        slope = (weights / net.scale[:, None])[columns]
        draw = density.held.middle_offset + np.einsum(
            "mc,cm->m", density.middle_rows[rows], middle[:, columns]
        )
        draw += sd * self.rng.standard_normal(len(draw))
        seen = ~np.isnan(density.y_incomplete)
        eta = density.held.trait_offset + density.activated @ weights + density.trait_rows @ trait
        eta += _sum_rows(rows, (draw - net.centre[columns])[:, None] * slope, len(eta))
        noise_sd = 1.0 / np.sqrt(density.held.trait_precision)
        noise = noise_sd * self.rng.standard_normal(eta.shape)
        misfit = np.where(seen, density.y_incomplete - eta - noise, 0.0)
        loading = (sd**2)[:, None] * slope
        products = (loading[:, :, None] * slope[:, None, :]).reshape(len(rows), -1)
        total = _sum_rows(rows, products, len(eta)).reshape(*eta.shape, -1)
        total *= seen[:, :, None] & seen[:, None, :]
        total += np.eye(eta.shape[1]) * noise_sd**2
        gain = np.linalg.solve(total, misfit[..., None])[..., 0]
        point = point.copy()
        point[net.missing] = draw + np.sum(loading * gain[rows], axis=1)
        return point, [{}]


def _sum_rows(rows: np.ndarray, values: np.ndarray, size: int) -> np.ndarray:
    """Sum over the cells of each row, column by column."""
    return np.stack([np.bincount(rows, column, size) for column in values.T], axis=1)

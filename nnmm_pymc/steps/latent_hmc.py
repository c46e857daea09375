r"""Missing omics by Hamiltonian moves of each individual, coefficients by exact Gaussian draws.

Given the completed omics the weights and coefficients of a standard network are those of linear
regressions on known columns, :math:`b | \cdot \sim N(P^{-1} h, P^{-1})` with
:math:`P = P_0 + \tau X'X, h = P_0 b_0 + \tau X'y`; given these, individuals are independent
(`nnmm_pymc.kernels.latent`). Against one trajectory of NUTS for everything a pass costs a few
gradients, not dozens, but moves cells and weights one after the other.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from pymc.step_methods.compound import StepMethodState
from pymc.step_methods.state import dataclass_state

from nnmm_pymc.kernels.latent import latent_hmc
from nnmm_pymc.steps.conditional import Point
from nnmm_pymc.steps.fused import FusedDensity
from nnmm_pymc.steps.gibbs import GibbsStep

__all__ = ["LatentHMC"]

TARGET = 0.8
# Length of a trajectory in standard deviations of a cell: a quarter of a period.
LENGTH = 0.5 * np.pi
MAX_STEPS = 12
# Cells and coefficients in turn, so often a draw: another pass costs less than the sweep over the
# markers, and a second adds half as many effective draws of the weights as the first; a third, few.
PASSES = 2


@dataclass_state
class LatentHMCState(StepMethodState):
    log_step: float
    tuning: bool
    count: int


class LatentHMC(GibbsStep):
    """Missing cells, weights and coefficients of a standard network.

    Parameters
    ----------
    vars : list of variable
        The missing cells and all coefficients that `density` has.
    density : FusedDensity
        Of the standard network, checked against the model.
    """

    name = "latent_hmc"
    stats_dtypes_shapes: ClassVar[dict[str, Any]] = {"latent_acceptance": (np.float64, [])}
    _state_class = LatentHMCState

    def __init__(self, vars, *, density: FusedDensity, **kwargs: Any):
        super().__init__(vars, conditional=density.conditional, **kwargs)
        self.density, self.passes = density, PASSES
        # Those that count in the regression of an omic, and of a trait.
        counts = ~np.isnan(density.network.middle.observed) | density.network.latent
        design = density.middle_design
        self.middle_cross = np.stack([design[c].T @ design[c] for c in counts.T])
        self.seen = ~np.isnan(density.y_incomplete)
        # Columns of the regression of a trait; the missing cells are put into their places.
        self.rows = np.ascontiguousarray(np.hstack([density.activated, density.trait_rows]))
        self.places = density.cell_rows * self.rows.shape[1] + density.latent_columns
        self.cells = density.cell_rows * len(density.cell.T) + density.latent_columns
        self._reset()

    def _reset(self) -> None:
        self.log_step, self.tuning, self.count = float(np.log(0.5)), True, 0

    def setup_chain(self, rng, tune: int, draws: int) -> None:
        super().setup_chain(rng, tune, draws)
        self._reset()

    def stop_tuning(self) -> None:
        self.tuning = False

    def step(self, point: Point):
        self.conditional.refresh(point)
        self.density.prepare(point)
        point = {
            name: np.array(v) if name in self.density.names else v for name, v in point.items()
        }
        for _ in range(self.passes):
            acceptance = self._move_cells(point)
            self._draw_traits(point)
            self._draw_middle(point)
        return point, [{"latent_acceptance": acceptance}]

    def _cell_means(self, middle: np.ndarray) -> np.ndarray:
        density = self.density
        return density.held.middle_offset + (density.middle_rows @ middle).ravel()[self.cells]

    def _move_cells(self, point: Point) -> float:
        density, net, held = self.density, self.density.network, self.density.held
        middle, trait, weights = density.coefficients(point)
        mean = self._cell_means(middle)
        base = held.trait_offset + density.activated @ weights + density.trait_rows @ trait
        # At the mean of each cell, which the move does not change.
        mass = density.cell_curvature(mean, weights)
        step = float(np.exp(self.log_step)) * self.rng.uniform(0.8, 1.2)
        acceptance = latent_hmc(
            point[net.missing],
            mean,
            density.cell,
            held.middle_precision,
            np.ascontiguousarray(density.y_incomplete.T),
            np.ascontiguousarray(base.T),
            held.trait_precision,
            weights,
            net.centre,
            net.scale,
            *density.network.activation_code,
            mass,
            step,
            int(np.clip(round(LENGTH / step), 1, MAX_STEPS)),
            self.rng.standard_normal(len(mean)),
            self.rng.random(len(density.cell)),
        )
        if self.tuning:
            self.count += 1
            self.log_step += (acceptance - TARGET) / self.count**0.6
            self.log_step = float(np.clip(self.log_step, -5.0, np.log(1.5)))
        return acceptance

    def _draw_traits(self, point: Point) -> None:
        """Weights and coefficients of every trait given the completed omics."""
        density, net, held = self.density, self.density.network, self.density.held
        self.rows.reshape(-1)[self.places] = density.activated_cells(point[net.missing])[0]
        cross, linear = density.trait_cross.copy(), held.trait_linear.T.copy()
        for t in range(len(cross)):
            rows, residual = self.rows, density.y_incomplete[:, t] - held.trait_offset[:, t]
            if not self.seen[:, t].all():
                rows, residual = rows[self.seen[:, t]], residual[self.seen[:, t]]
            cross[t] += rows.T @ rows
            linear[t] += rows.T @ residual
        _, trait_index, weight_index = density.indices
        n_omics = len(net.weight_mask)
        if len(weight_index):
            mask = np.vstack([net.weight_mask, np.ones_like(trait_index)]).T
            cross, linear = cross * mask[:, :, None] * mask[:, None, :], linear * mask
        else:
            linear -= np.einsum("tjk,kt->tj", cross[:, :, :n_omics], held.weights)
            cross, linear = cross[:, n_omics:, n_omics:], linear[:, n_omics:]
        index = np.vstack([weight_index, trait_index]).T
        self._draw(point, index, cross, linear, held.trait_precision)

    def _draw_middle(self, point: Point) -> None:
        """Intercepts and covariate effects of every omic given its completed values."""
        density, net, held = self.density, self.density.network, self.density.held
        residual = np.zeros((len(density.incomplete), len(net.weight_mask)))
        residual.reshape(-1)[self.cells] = point[net.missing] - held.middle_offset
        linear = held.middle_linear + density.middle_rows.T @ residual
        index = density.indices[0].T
        self._draw(point, index, self.middle_cross, linear.T, held.middle_precision)

    def _draw(
        self,
        point: Point,
        index: np.ndarray,
        cross: np.ndarray,
        linear: np.ndarray,
        precision: np.ndarray,
    ) -> None:
        """Draw the coefficients of several responses from their Gaussian conditionals.

        Parameters
        ----------
        point : dict
            Changed in place.
        index : (K, c) array
            Where the coefficients of each response stand in the stacked vector.
        cross, linear : (K, c, c) and (K, c) arrays
            X'X and X'y of each response.
        precision : (K,) array
        """
        if not index.size:
            return
        prior = self.density.prior_precision[index]
        total = precision[:, None, None] * cross
        total += prior[:, :, None] * np.eye(index.shape[1])
        pull = prior * self.density.prior_mean[index] + precision[:, None] * linear
        lower = np.linalg.cholesky(total)
        whitened = np.linalg.solve(lower, pull[..., None])
        whitened += self.rng.standard_normal(whitened.shape)
        drawn = np.linalg.solve(lower.transpose(0, 2, 1), whitened)[..., 0]
        self.density.put(point, index.ravel(), drawn.ravel())

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
from scipy.linalg import solve_triangular

from nnmm_pymc.activations import LEAK, NUMPY_ACTIVATIONS, SLOPES
from nnmm_pymc.kernels.activate import ACTIVATION_CODES
from nnmm_pymc.kernels.latent import latent_hmc
from nnmm_pymc.steps.conditional import Point
from nnmm_pymc.steps.fused import FusedDensity
from nnmm_pymc.steps.gibbs import GibbsStep

__all__ = ["LatentHMC"]

TARGET = 0.8
# Length of a trajectory in standard deviations of a cell: a quarter of a period.
LENGTH = 0.5 * np.pi
MAX_STEPS = 12


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
        self.density = density
        net = density.network
        self.counts = ~np.isnan(net.middle.observed) | net.latent
        self.seen = ~np.isnan(net.terminal.observed)
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
        acceptance = self._move_cells(point)
        self._draw_traits(point)
        self._draw_middle(point)
        return point, [{"latent_acceptance": acceptance}]

    def _cell_means(self, middle: np.ndarray) -> np.ndarray:
        density = self.density
        rows = density.middle_rows[density.cell_rows]
        columns = density.latent_columns
        return density.held.middle_offset + np.einsum("mc,cm->m", rows, middle[:, columns])

    def _move_cells(self, point: Point) -> float:
        density, net, held = self.density, self.density.network, self.density.held
        middle, trait, weights = density.coefficients(point)
        mean, columns = self._cell_means(middle), density.latent_columns
        base = held.trait_offset + density.activated @ weights + density.trait_rows @ trait
        # Curvature of the potential at the mean of each cell, which the move does not change.
        at = (mean - net.centre[columns]) / net.scale[columns]
        pull = (weights**2 @ held.trait_precision / net.scale**2)[columns]
        mass = held.middle_precision[columns] + pull * SLOPES[net.activation](at) ** 2
        step = float(np.exp(self.log_step)) * self.rng.uniform(0.8, 1.2)
        acceptance = latent_hmc(
            point[net.missing],
            mean,
            density.cell,
            held.middle_precision,
            density.y_incomplete,
            base,
            held.trait_precision,
            weights,
            net.centre,
            net.scale,
            ACTIVATION_CODES[net.activation],
            LEAK if net.activation == "leaky_relu" else 0.0,
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

    def _completed(self, point: Point) -> np.ndarray:
        net = self.density.network
        z = np.where(np.isnan(net.middle.observed), 0.0, net.middle.observed)
        z[net.latent] = point[net.missing]
        return z

    def _draw_traits(self, point: Point) -> None:
        """Weights and coefficients of every trait given the completed omics."""
        density, net = self.density, self.density.network
        activated = NUMPY_ACTIVATIONS[net.activation](
            (self._completed(point) - net.centre) / net.scale
        )
        residual = density.y - density.offset(net.terminal)
        _, trait_index, weight_index = density.indices
        held_weights = len(weight_index) == 0
        if held_weights:
            residual = residual - activated @ density.held.weights
        for t, precision in enumerate(density.held.trait_precision):
            own = [] if held_weights else [activated * net.weight_mask[:, t]]
            design = np.hstack([*own, density.trait_design])[self.seen[:, t]]
            index = np.concatenate(
                [weight_index[:, t] if not held_weights else [], trait_index[:, t]]
            )
            self._draw(point, index.astype(int), design, residual[self.seen[:, t], t], precision)

    def _draw_middle(self, point: Point) -> None:
        """Intercepts and covariate effects of every omic given its completed values."""
        density, net = self.density, self.density.network
        residual = self._completed(point) - density.offset(net.middle)
        index = density.indices[0]
        for k, precision in enumerate(density.held.middle_precision):
            rows = self.counts[:, k]
            self._draw(
                point, index[:, k], density.middle_design[rows], residual[rows, k], precision
            )

    def _draw(
        self,
        point: Point,
        index: np.ndarray,
        design: np.ndarray,
        response: np.ndarray,
        precision: float,
    ) -> None:
        """Draw the elements of the stacked vector at `index` from their Gaussian conditional."""
        if not len(index):
            return
        density = self.density
        prior = density.prior_precision[index]
        total = np.diag(prior) + precision * design.T @ design
        linear = prior * density.prior_mean[index] + precision * design.T @ response
        lower = np.linalg.cholesky(total)
        noise = self.rng.standard_normal(len(index))
        whitened = solve_triangular(lower, linear, lower=True) + noise
        density.put(point, index, solve_triangular(lower, whitened, lower=True, trans=1))

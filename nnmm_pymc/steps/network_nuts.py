"""NUTS for the missing cells, weights and coefficients of a standard network, in compiled code."""

from __future__ import annotations

from typing import Any

import numpy as np
from pymc.blocking import RaveledVars
from pymc.exceptions import SamplingError
from pymc.step_methods.hmc.base_hmc import DivergenceInfo, HMCStepData
from pymc.step_methods.hmc.integration import State
from pymc.step_methods.hmc.quadpotential import QuadPotential

from nnmm_pymc.kernels.nuts import GRADIENT, Q, nuts_draw
from nnmm_pymc.kernels.nuts import n_rows as trajectory_rows
from nnmm_pymc.steps.conditional import Point
from nnmm_pymc.steps.fused import FusedDensity
from nnmm_pymc.steps.nuts import ConditionalNUTS
from nnmm_pymc.steps.splitting import gaussian_reference

__all__ = ["NetworkNUTS"]

# A quarter of a turn is an independent draw of the reference. Where there is little else, longer
# steps would be accepted as well, and after a whole turn nothing has moved.
LONGEST = 0.5 * np.pi


class ReferenceMasses(QuadPotential):
    """Diagonal masses that are set before every draw: the precision of the reference.

    Momenta are in the order of the kernels.
    """

    def __init__(self, size: int, rng=None):
        super().__init__(rng=rng)
        self.dtype, self.masses = np.dtype("float64"), np.ones(size)

    def random(self):
        return self.rng.standard_normal(len(self.masses)) * np.sqrt(self.masses)


class Unevaluated:
    """What PyMC asks for the state where a trajectory begins: the kernel evaluates the density."""

    def compute_state(self, q: RaveledVars, p: np.ndarray) -> State:
        return State(q, p, p, p, 0.0, 0.0, 0)


class NetworkNUTS(ConditionalNUTS):
    """NUTS whose trajectories turn around the Gaussian part of a standard network's density.

    What a trajectory turns around, and with it the masses, follows at every draw from the variances
    and genetic values that it is conditional on (`nnmm_pymc.steps.splitting`); nothing but the step
    size is adapted.

    Parameters
    ----------
    vars : list of variable
        The variables of `fused`, in its order.
    fused : FusedDensity
        Of the standard network, checked against the model.
    **kwargs
        As in `ConditionalNUTS`.
    """

    def __init__(self, vars, *, fused: FusedDensity, **kwargs: Any):
        self.fused = fused
        fused.whiten()
        super().__init__(vars, conditional=fused.conditional, **kwargs)
        self.integrator, self.rows = Unevaluated(), np.empty((0, 0))

    def _density(self, names: list[str], interpreted: bool) -> FusedDensity:
        return self.fused

    def _masses(self, size: int) -> ReferenceMasses:
        return ReferenceMasses(size)

    def _prepare(self, point: Point) -> None:
        self.fused.prepare(point)
        centre, precision = gaussian_reference(self.fused)
        self.potential.masses = precision
        self.reference = centre, precision, 1.0 / precision
        adapt = self.step_adapt
        adapt._log_step = min(adapt._log_step, np.log(LONGEST))
        adapt._log_bar = min(adapt._log_bar, np.log(LONGEST))

    def _start_masses(self, point: Point) -> None:
        pass

    def inward(self, point: Point) -> Point:
        return self.fused.inward(point)

    def outward(self, own: Point) -> Point:
        return self.fused.outward(own)

    @property
    def working_bytes(self) -> int:
        """Bytes that a chain needs for its trajectories, at most."""
        return 8 * trajectory_rows(self.max_treedepth) * len(self.fused.order)

    def _hamiltonian_step(self, start, p0, step_size):
        early = self.tune and self.iter_count < 200
        depth = self.early_max_treedepth if early else self.max_treedepth
        order, n_rows = self.fused.order, trajectory_rows(depth)
        if len(self.rows) != n_rows:
            self.rows = np.empty((n_rows, len(order)))
        drawn, logp, energy, error, largest, acceptance, n_steps, doublings, stop = nuts_draw(
            start.q.data[order],
            p0,
            float(step_size),
            self.reference,
            np.where(self.rng.random(depth) < 0.5, 1, -1),
            self.rng.random(2**depth + depth),
            self.rows,
            self.fused.data,
        )
        if not np.isfinite(energy):
            raise SamplingError(
                f"The log density of {', '.join(self.var_names)} is not finite where the chain is;"
                " model.debug() tells which prior or likelihood it is."
            )
        q, gradient = np.empty_like(start.q.data), np.empty_like(start.q.data)
        q[order], gradient[order] = self.rows[drawn + Q], self.rows[drawn + GRADIENT]
        end = State(
            RaveledVars(q, start.q.point_map_info), p0, p0, gradient, energy + error, logp, 0
        )
        acceptance = acceptance / max(1, n_steps)
        stats = {
            "depth": doublings,
            "tree_size": float(n_steps),
            "mean_tree_accept": acceptance,
            "energy": end.energy,
            "energy_error": error,
            "max_energy_error": largest,
            "reached_max_treedepth": not self.tune and stop == 0,
            "index_in_trajectory": 0,
            "model_logp": logp,
        }
        divergence = None
        if stop == 1:
            divergence = DivergenceInfo(
                "Energy change in leapfrog step is too large.", None, end, end
            )
        return HMCStepData(end, acceptance, divergence, stats)

"""NUTS on the model given its genetic values: its cost does not depend on the number of markers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pymc.blocking import RaveledVars
from pymc.model.core import ValueGradFunction
from pymc.step_methods.hmc.base_hmc import BaseHMCState, DivergenceInfo, HMCStepData
from pymc.step_methods.hmc.integration import State
from pymc.step_methods.hmc.quadpotential import QuadPotentialDiagAdapt
from pymc.step_methods.state import dataclass_state
from pymc.util import get_value_vars_from_user_vars

from nnmm_pymc.kernels.nuts import nuts_draw
from nnmm_pymc.steps.conditional import QUICK_MODE, ConditionalModel, Point
from nnmm_pymc.steps.fused import FusedDensity
from nnmm_pymc.steps.partial import HeldDensity

__all__ = ["ConditionalNUTS"]

# Elements this far apart in a vector share a probe. Missing cells are ordered individual by
# individual and meet only within one, so up to this many omics their curvature is exact.
PROBES = 64


@dataclass_state
class ConditionalNUTSState(BaseHMCState):
    max_treedepth: int
    early_max_treedepth: int
    fresh: bool
    halfway: int


class ConditionalNUTS(pm.NUTS):
    """NUTS for what has no conjugate update: missing omics, weights, and any odd hyper-parameter.

    The density is the sum of the factors in which its variables occur, compiled on the model given
    its genetic values. The mass matrix starts, at the first point of each chain, from the curvature
    of that density and adapts from there as in PyMC.

    Parameters
    ----------
    vars : list of variable
    conditional : ConditionalModel
    fused : FusedDensity, optional
        The same density in one numba pass, for exactly these variables in this order.
    interpreted : bool
        Evaluate the density without compiling it: for hyper-parameters, of which it is small.
    prefix : str
        Put before the names of the statistics where a model has several of these steps.
    model, **kwargs
        As in `pymc.NUTS`.
    """

    _state_class = ConditionalNUTSState

    def __init__(
        self,
        vars,
        *,
        conditional: ConditionalModel,
        fused: FusedDensity | None = None,
        interpreted: bool = False,
        prefix: str = "",
        model=None,
        **kwargs,
    ):
        model = pm.modelcontext(model)
        values = get_value_vars_from_user_vars(vars, model)
        names = [v.name for v in values]
        self.conditional = conditional
        point = conditional.check_points[0]
        own = [conditional.values[name] for name in names]
        density = self._log_density(names)
        self.fused, self.prefix = fused, prefix
        function: Any = fused
        if function is None and interpreted:
            function = HeldDensity(conditional, density, names)
        elif function is None:
            function = self._compile_density(names, own, density, point)
        self.held = function if fused is not None or interpreted else None
        if fused is not None:
            fused.whiten()
        size = sum(np.size(point[name]) for name in names)
        super().__init__(
            values,
            model=model,
            logp_dlogp_func=function,
            initial_point=point,
            potential=QuadPotentialDiagAdapt(size, np.zeros(size), np.ones(size), 10),
            **kwargs,
        )
        self.fresh, self.halfway = True, 0
        if prefix:
            names_and_types = pm.NUTS.stats_dtypes_shapes.items()
            self.stats_dtypes_shapes = {prefix + k: v for k, v in names_and_types}
            self.stats_dtypes = [{prefix + k: t for k, (t, _) in names_and_types}]
        if fused is None:
            self._compile_curvature(density, own)

    def _compile_density(self, names, own, density, point) -> ValueGradFunction:
        conditional = self.conditional
        needed = conditional.compile([density], mode=QUICK_MODE).names
        extra = {conditional.values[n]: point[n] for n in needed if n not in names}
        function = ValueGradFunction(
            [density],
            own,
            extra,
            model=conditional.conditional,
            initial_point=point,
            ravel_inputs=True,
        )
        function.trust_input = True
        return function

    def _log_density(self, names: list[str]) -> Any:
        """Log density of the variables on the transformed scale, Jacobians included."""
        conditional = self.conditional
        factors = {f for n in names for f in conditional.factors_of(conditional.values[n])}
        model = conditional.conditional
        density = pt.sum([conditional.factors[name].sum() for name in sorted(factors)])
        for name in names:
            rv, value = conditional.rvs[name], conditional.values[name]
            transform = model.rvs_to_transforms[rv]
            if transform is not None:
                jacobian = transform.log_jac_det(value, *rv.owner.inputs).sum()
                density = density + model.replace_rvs_by_values([jacobian])[0]
        return density

    def _compile_curvature(self, density, own) -> None:
        probes = [v.type(f"{v.name}_probe") for v in own]
        slopes: Any = pt.grad(density, own)
        along = pt.sum([(s * p).sum() for s, p in zip(slopes, probes, strict=True)])
        images = pt.grad(along, own, disconnected_inputs="ignore")
        self._curvature = self.conditional.compile(images, leading=probes, mode=QUICK_MODE)

    def _inverse_curvature(self, point: Point) -> np.ndarray:
        """Starting variances: one over the negative diagonal of the Hessian of the log density."""
        diagonal = np.concatenate([self._own_curvature(point, v.name) for v in self.vars])
        with np.errstate(all="ignore"):
            return 1.0 / np.abs(diagonal)

    def _own_curvature(self, point: Point, name: str) -> np.ndarray:
        """Diagonal of the Hessian of one variable."""
        names, size = [v.name for v in self.vars], np.size(point[name])

        def along(vector: np.ndarray) -> np.ndarray:
            """Hessian times a vector, times its elements."""
            probes = [np.zeros_like(point[n]) for n in names]
            probes[names.index(name)] = vector.reshape(point[name].shape)
            image = self._curvature(point, *probes)[names.index(name)]
            return np.ravel(image) * vector

        # Elements that do not meet, as the intercepts of many omics, need no probes of their own.
        signs = np.random.default_rng(0).choice([-1.0, 1.0], (2, size))
        first, second = along(signs[0]), along(signs[1])
        if np.allclose(first, second, rtol=1e-6, atol=0.0):
            return first
        starts = range(min(size, PROBES))
        return np.sum([along((np.arange(size) % PROBES == k) * 1.0) for k in starts], axis=0)

    def _hamiltonian_step(self, start, p0, step_size):
        if self.fused is None:
            return super()._hamiltonian_step(start, p0, step_size)
        early = self.tune and self.iter_count < 200
        depth = self.early_max_treedepth if early else self.max_treedepth
        order = self.fused.order
        inner_q, inner_gradient, logp, error, info = nuts_draw(
            start.q.data[order],
            p0[order],
            start.q_grad[order],
            float(start.model_logp),
            float(step_size),
            self.potential._var[order],
            depth,
            np.where(self.rng.random(depth) < 0.5, 1, -1),
            self.rng.random(2**depth + depth),
            self.fused.data,
        )
        q, gradient = np.empty_like(inner_q), np.empty_like(inner_q)
        q[order], gradient[order] = inner_q, inner_gradient
        end = State(
            RaveledVars(q, start.q.point_map_info), p0, p0, gradient, start.energy + error, logp, 0
        )
        stats = {
            "depth": int(info[0]),
            "tree_size": info[1],
            "mean_tree_accept": info[2],
            "energy": end.energy,
            "energy_error": error,
            "max_energy_error": info[4],
            "reached_max_treedepth": not self.tune and info[3] + info[5] == 0,
            "index_in_trajectory": 0,
            "model_logp": logp,
        }
        divergence = None
        if info[3]:
            divergence = DivergenceInfo(
                "Energy change in leapfrog step is too large.", None, end, end
            )
        return HMCStepData(end, info[2], divergence, stats)

    def setup_chain(self, rng, tune: int, draws: int) -> None:
        super().setup_chain(rng, tune, draws)
        self.reset_tuning()
        self.fresh, self.halfway = True, tune // 2
        if tune == 0:
            self.stop_tuning()

    def step(self, point):
        self.conditional.refresh(point)
        if self.fresh:
            self._start_potential(point)
            self.fresh = False
        if self.tune and self.iter_count == self.halfway > 0:
            self._adapt_again()
        if self.held is not None:
            self.held.prepare(point)
        # Without shared variables PyMC would stack the whole point, not this step's part of it.
        needed = {name: point[name] for name in (*self.var_names, *self.shared)}
        if self.fused is None:
            own, stats = super().step(needed)
        else:
            own, stats = super().step(needed | self.fused.inward(point))
            own = self.fused.outward(own)
        if self.prefix:
            stats = [{self.prefix + k: v for k, v in s.items()} for s in stats]
        return point | own, stats

    def _adapt_again(self) -> None:
        """Start the adaptation of the step size anew, from the size reached with other masses."""
        adapt = self.step_adapt
        adapt._log_step, adapt._hbar, adapt._count = adapt._log_bar, 0.0, 1
        adapt._mu = np.log(10.0) + adapt._log_bar

    @property
    def sampling_state(self):
        """State from which the chain goes on; the starting mass matrix is part of it."""
        return super().sampling_state

    @sampling_state.setter
    def sampling_state(self, state):
        # PyMC freezes what the potential was made with; here each chain makes its own.
        self.potential._initial_mean = state.potential._initial_mean
        self.potential._initial_diag = state.potential._initial_diag
        pm.NUTS.sampling_state.fset(self, state)

    def _start_potential(self, point: Point) -> None:
        fused, own = self.fused, point
        if fused is None:
            variance = self._inverse_curvature(point)
        else:
            variance, own = fused.inverse_curvature(point), fused.inward(point)
        usable = np.where(np.isfinite(variance), np.clip(variance, 1e-10, 1e10), 1.0)
        self.potential._initial_mean = np.concatenate([np.ravel(own[v.name]) for v in self.vars])
        self.potential._initial_diag = usable
        self.potential.reset()

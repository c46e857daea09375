"""NUTS on the model given its genetic values: its cost does not depend on the number of markers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pymc.model.core import ValueGradFunction
from pymc.step_methods.hmc.base_hmc import BaseHMCState
from pymc.step_methods.hmc.quadpotential import QuadPotential, QuadPotentialDiagAdapt
from pymc.step_methods.state import dataclass_state
from pymc.util import get_value_vars_from_user_vars

from nnmm_pymc.steps.conditional import QUICK_MODE, ConditionalModel, Point, in_order
from nnmm_pymc.steps.partial import HeldDensity

__all__ = ["ConditionalNUTS"]

# Elements this far apart in a vector share a probe. Missing cells are ordered individual by
# individual and meet only within one, so up to this many omics their curvature is exact.
PROBES = 64


@dataclass_state
class ConditionalNUTSState(BaseHMCState):
    max_treedepth: int
    early_max_treedepth: int
    anew: tuple[int, ...]


class ConditionalNUTS(pm.NUTS):
    """NUTS for what has no conjugate update: missing omics, weights, and any odd hyper-parameter.

    The density is the sum of the factors in which its variables occur, compiled on the model given
    its genetic values. The mass matrix starts, at the first point of each chain, from the curvature
    of that density; again after a quarter of the tuning, so that nothing of the way from the start
    stays in it; and adapts from there as in PyMC. The step size is tuned anew there and halfway.

    Parameters
    ----------
    vars : list of variable
    conditional : ConditionalModel
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
        interpreted: bool = False,
        prefix: str = "",
        model=None,
        **kwargs,
    ):
        model = pm.modelcontext(model)
        values = get_value_vars_from_user_vars(vars, model)
        self.conditional, self.prefix = conditional, prefix
        point = conditional.check_points[0]
        super().__init__(
            values,
            model=model,
            logp_dlogp_func=self._density([v.name for v in values], interpreted),
            initial_point=point,
            potential=self._masses(sum(np.size(point[v.name]) for v in values)),
            **kwargs,
        )
        self.anew: tuple[int, ...] = ()
        if prefix:
            names_and_types = pm.NUTS.stats_dtypes_shapes.items()
            self.stats_dtypes_shapes = {prefix + k: v for k, v in names_and_types}
            self.stats_dtypes = [{prefix + k: t for k, (t, _) in names_and_types}]

    def _density(self, names: list[str], interpreted: bool) -> Any:
        """Log density and gradient as PyMC's NUTS calls them."""
        own = [self.conditional.values[name] for name in names]
        density = self._log_density(names)
        self._compile_curvature(density, own)
        self.held: Any = None
        if interpreted:
            self.held = HeldDensity(self.conditional, density, names)
            return self.held
        return self._compile_density(names, own, density, self.conditional.check_points[0])

    def _masses(self, size: int) -> QuadPotential:
        return QuadPotentialDiagAdapt(size, np.zeros(size), np.ones(size), 10)

    def _compile_density(self, names, own, density, point) -> ValueGradFunction:
        conditional = self.conditional
        needed = conditional.compile([density], mode=QUICK_MODE).names
        extra = {conditional.values[n]: point[n] for n in needed if n not in names}
        with in_order():
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

    def setup_chain(self, rng, tune: int, draws: int) -> None:
        super().setup_chain(rng, tune, draws)
        self.reset_tuning()
        self.anew = (0, tune // 4, tune // 2)
        if tune == 0:
            self.stop_tuning()

    def step(self, point):
        self.conditional.refresh(point)
        self._prepare(point)
        if self.anew and self.iter_count >= self.anew[0]:
            self._tune_anew(point)
        # Without shared variables PyMC would stack the whole point, not this step's part of it.
        needed = {name: point[name] for name in (*self.var_names, *self.shared)}
        own, stats = super().step(needed | self.inward(point))
        if self.prefix:
            stats = [{self.prefix + k: v for k, v in s.items()} for s in stats]
        return point | self.outward(own), stats

    def _prepare(self, point: Point) -> None:
        """Take in what a draw is conditional on."""
        if self.held is not None:
            self.held.prepare(point)

    def inward(self, point: Point) -> Point:
        """Variables that a trajectory moves in other coordinates than the point has."""
        return {}

    def outward(self, own: Point) -> Point:
        """These variables in the coordinates of the point."""
        return own

    def _tune_anew(self, point: Point) -> None:
        due = sum(self.iter_count >= at for at in self.anew)
        if len(self.anew) > 1:
            self._start_masses(point)
        self.anew = self.anew[due:]
        if self.tune and self.iter_count > 0:
            # From the size reached with other masses.
            adapt = self.step_adapt
            adapt._log_step, adapt._hbar, adapt._count = adapt._log_bar, 0.0, 1
            adapt._mu = np.log(10.0) + adapt._log_bar

    def _start_masses(self, point: Point) -> None:
        variance = self._inverse_curvature(point)
        usable = np.where(np.isfinite(variance), np.clip(variance, 1e-10, 1e10), 1.0)
        self.potential._initial_mean = np.concatenate([np.ravel(point[v.name]) for v in self.vars])
        self.potential._initial_diag = usable
        self.potential.reset()

    @property
    def sampling_state(self):
        """State from which the chain goes on; the starting mass matrix is part of it."""
        return super().sampling_state

    @sampling_state.setter
    def sampling_state(self, state):
        # PyMC freezes what the potential was made with; here each chain makes its own.
        for name in ("_initial_mean", "_initial_diag"):
            if hasattr(state.potential, name):
                setattr(self.potential, name, getattr(state.potential, name))
        pm.NUTS.sampling_state.fset(self, state)

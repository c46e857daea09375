"""A model and its data as one distribution: both are drawn together, or the data given the rest.

The observed values of a copy of the model become shared variables, and whatever a step compiles
from it reads them anew at each call. The fused density of a standard network keeps sums of the
data; it takes them in again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pymc as pm
import pytensor
from pymc.distributions.continuous import FlatRV, HalfFlatRV
from pymc.logprob.utils import replace_rvs_by_values
from pymc.pytensorf import compile as pymc_compile

from nnmm_pymc.checks.conditionals import distinct_steps
from nnmm_pymc.checks.reference import Classes, Reference
from nnmm_pymc.errors import InputError
from nnmm_pymc.steps.bounds import Liability, liabilities_of, register_liability
from nnmm_pymc.steps.conditional import QUICK_MODE, STEP_MODE, ConditionalModel, Point
from nnmm_pymc.steps.fused import FusedDensity
from nnmm_pymc.steps.plan import Latent, assign_steps
from nnmm_pymc.steps.standard_network import Side, network_of, register_network

__all__ = ["JointModel"]

Data = dict[str, np.ndarray]

# Of the tuned step of a trajectory. Whatever its length the density must be left alone: short steps
# make long trajectories, which turn back, long ones errors of the energy that must be corrected.
STEPS = 0.15, 2.5


class JointModel:
    """A model with steps that see whatever data it is given.

    Parameters
    ----------
    model : pymc.Model
    random_seed : int
    latent
        As in `nnmm_pymc.assign_steps`.
    compiled : bool
        Compile the log density: some ten seconds, that many draws repay.

    Attributes
    ----------
    model : pymc.Model
        A copy.
    plan : StepPlan
    reference : Reference
    steps : list
        Those of the plan, each once.

    Raises
    ------
    InputError
        If nothing can be drawn from the model: it has a flat prior or a potential.
    """

    def __init__(
        self, model: pm.Model, random_seed: int, latent: Latent = "auto", compiled: bool = False
    ):
        _refuse_improper(model)
        self.model = model.copy()
        self._shared: dict[str, Any] = {}
        for rv in self.model.observed_RVs:
            self._shared[rv.name] = _share_observed(self.model, rv)
        network = network_of(model)
        if network is not None:
            sides = _copied(network.middle), _copied(network.terminal)
            network = replace(network, middle=sides[0], terminal=sides[1])
            register_network(self.model, network)
        self._liabilities = [_own_liability(each) for each in liabilities_of(model)]
        for liability in self._liabilities:
            register_liability(self.model, liability)
        self.reference = Reference(self.model, None if compiled else STEP_MODE)
        self._network = network
        self._fused: dict[int, FusedDensity] = {}
        self._compile(random_seed)
        conditional = _DataOfPoints(self)
        self.plan = assign_steps(self.model, conditional=conditional, latent=latent)
        conditional.data = []
        self.steps = distinct_steps(self.plan)
        held = (getattr(s, name, None) for s in self.steps for name in ("density", "fused"))
        self._fused = {id(d): d for d in held if isinstance(d, FusedDensity)}

    def _compile(self, random_seed: int) -> None:
        model, free = self.model, self.model.free_RVs
        transforms = model.rvs_to_transforms
        values = [
            rv if transforms[rv] is None else transforms[rv].forward(rv, *rv.owner.inputs)
            for rv in free
        ]
        seeds = np.random.SeedSequence(random_seed).generate_state(2)
        options: dict[str, Any] = {"mode": QUICK_MODE, "on_unused_input": "ignore"}
        both = [*values, *model.observed_RVs]
        self._both: Any = pymc_compile([], both, random_seed=int(seeds[0]), **options)
        given = replace_rvs_by_values(
            model.observed_RVs,
            rvs_to_values={rv: model.rvs_to_values[rv] for rv in free},
            rvs_to_transforms=transforms,
        )
        self._data: Any = pymc_compile(
            model.value_vars, given, random_seed=int(seeds[1]), **options
        )
        self.names = [v.name for v in model.value_vars]

    def draw(self) -> tuple[Point, Data]:
        """Everything unknown, on the scale of the value variables, and data; from the prior.

        Raises
        ------
        InputError
            If the prior is so vague that a draw is not finite.
        """
        with np.errstate(all="ignore"):
            drawn = [np.asarray(v) for v in self._both()]
        point = dict(zip(self.names, drawn, strict=False))
        for name, value in point.items():
            if not np.all(np.isfinite(value)):
                raise InputError(
                    f"A prior draw of {self.reference.variables[name]!r} is not finite; give it, "
                    "or its hyper-parameters, a less vague prior."
                )
        return point, dict(zip(self._shared, drawn[len(point) :], strict=True))

    def draw_data(self, point: Point) -> Data:
        """Data given everything unknown."""
        return dict(zip(self._shared, self._data(*(point[n] for n in self.names)), strict=True))

    def set_data(self, data: Data) -> None:
        """Let model and steps see these data."""
        for name, shared in self._shared.items():
            shared.set_value(np.asarray(data[name]))
        if self._network is not None:
            _fill(self._network.middle, data)
            _fill(self._network.terminal, data)
        for liability in self._liabilities:
            _set_bounds(liability, data)
        for density in self._fused.values():
            density._take_constants()

    @property
    def data_follow(self) -> bool:
        """Whether data are a function of unknowns (categories of liabilities).

        Then drawing one given the other in turn leaves both where they are.
        """
        return any(liability.codes is not None for liability in self._liabilities)

    def stop_tuning(self) -> None:
        """Stop it, and let trajectories of NUTS take steps of all lengths."""
        self.plan.compound.stop_tuning()
        low, high = np.log(STEPS)
        for step in self.steps:
            if isinstance(step, pm.NUTS):
                step._step_rand = lambda size, rng: size * np.exp(rng.uniform(low, high))

    def hold_classes(self, point: Point, classes: Classes) -> None:
        """Make these the classes that the steps hold for the effects of a point."""
        for name, mixture in self.plan.conditional.mixtures.items():
            mixture.hold(point[name], classes[name])

    @property
    def held_classes(self) -> dict[str, np.ndarray]:
        """Classes that the steps hold."""
        return {n: m.classes.copy() for n, m in self.plan.conditional.mixtures.items()}


class _DataOfPoints(ConditionalModel):
    """Gives each check point data of its own while steps are assigned.

    So what a step would take for fixed because it is data (observed omics as regressors) is seen to
    change from point to point, as it does here.
    """

    def __init__(self, joint: JointModel):
        super().__init__(joint.model)
        self.joint = joint
        self.data = [joint.draw()[1] for _ in self.check_points]

    def refresh(self, point: Point) -> None:
        """As always; data too."""
        for own, data in zip(self.check_points, self.data, strict=False):
            if point is own:
                self.joint.set_data(data)
        super().refresh(point)


def _refuse_improper(model: pm.Model) -> None:
    if model.potentials:
        names = ", ".join(p.name for p in model.potentials)
        raise InputError(f"Nothing can be drawn from potentials ({names}); write distributions.")
    for rv in model.free_RVs:
        if isinstance(rv.owner.op, FlatRV | HalfFlatRV):
            raise InputError(f"The prior of {rv.name!r} is flat and has no draws; make it proper.")


def _share_observed(model: pm.Model, rv: Any) -> Any:
    """Replace the observed values of a variable by a shared variable, in place."""
    old = model.rvs_to_values[rv]
    value = old.eval(mode=QUICK_MODE)
    shared = pytensor.shared(value, name=old.name, shape=value.shape)
    del model.values_to_rvs[old]
    model.rvs_to_values[rv], model.values_to_rvs[shared] = shared, rv
    return shared


def _own_liability(liability: Liability) -> Liability:
    codes = None if liability.codes is None else liability.codes.copy()
    return replace(
        liability, lower=liability.lower.copy(), upper=liability.upper.copy(), codes=codes
    )


def _set_bounds(liability: Liability, data: Data) -> None:
    """Write what the records say of liabilities, as `nnmm_pymc.likelihood` does."""
    if liability.codes is not None:
        codes = data[f"{liability.name.removesuffix('_liability')}_observed"]
        liability.codes[:] = codes
        liability.lower[:] = np.where(codes > 0, 0.0, -np.inf)
        liability.upper[:] = np.where(codes > 0, np.inf, 0.0)


def _copied(side: Side) -> Side:
    return replace(side, observed=side.observed.copy())


def _fill(side: Side, data: Data) -> None:
    """Write the observed cells of a layer, individual by individual."""
    name = side.variance.removesuffix("_residual_variance")
    seen = ~np.isnan(side.observed)
    if seen.any():
        side.observed[seen] = np.ravel(data[name] if name in data else data[f"{name}_observed"])

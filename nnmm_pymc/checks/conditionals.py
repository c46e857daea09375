"""`check_conditionals`: what every step draws from, against the log density of the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pymc as pm

from nnmm_pymc.checks.effects import marker_misfits, scale_misfits, selection_misfits
from nnmm_pymc.checks.gaussian import latent_gibbs_misfits, noise_misfits
from nnmm_pymc.checks.hyper import conjugate_misfits, slice_misfits
from nnmm_pymc.checks.joint_effects import (
    covariance_misfits,
    joint_marker_misfits,
    joint_scale_misfits,
)
from nnmm_pymc.checks.liability import liability_misfits
from nnmm_pymc.checks.random_effects import (
    coupled_effect_misfits,
    random_effect_misfits,
    random_scale_misfits,
    shift_misfits,
)
from nnmm_pymc.checks.reference import Reference, State
from nnmm_pymc.checks.trade import trade_misfits
from nnmm_pymc.checks.trajectories import latent_hmc_misfits, network_nuts_misfits, nuts_misfits
from nnmm_pymc.errors import InputError
from nnmm_pymc.steps.conditional import Point
from nnmm_pymc.steps.conjugate import ConjugateGibbs
from nnmm_pymc.steps.coupled_effects import CoupledRandomEffectGibbs, JointRandomEffectGibbs
from nnmm_pymc.steps.covariance import CovarianceGibbs
from nnmm_pymc.steps.gaussian import GaussianGibbs
from nnmm_pymc.steps.joint_markers import JointMarkerGibbs
from nnmm_pymc.steps.latent import LatentGibbs
from nnmm_pymc.steps.latent_hmc import LatentHMC
from nnmm_pymc.steps.liability import LiabilityGibbs
from nnmm_pymc.steps.markers import MarkerGibbs
from nnmm_pymc.steps.network_nuts import NetworkNUTS
from nnmm_pymc.steps.nuts import ConditionalNUTS
from nnmm_pymc.steps.plan import Latent, StepPlan, assign_steps
from nnmm_pymc.steps.random_effects import RandomEffectGibbs
from nnmm_pymc.steps.relatives import RelativesGibbs
from nnmm_pymc.steps.selection import SelectionGibbs
from nnmm_pymc.steps.slice import SliceGibbs

__all__ = ["check_conditionals", "check_plan", "distinct_steps", "model_of"]

# Of relative differences; and of genetic values that follow float32 residuals.
TOLERANCE, FLOAT32 = 1e-6, 2e-5

# How each kind of step is looked at: value variables with relative differences.
MISFITS: dict[type, Callable[[Any, State], Iterator[tuple[str, float]]]] = {
    MarkerGibbs: marker_misfits,
    JointMarkerGibbs: joint_marker_misfits,
    CovarianceGibbs: covariance_misfits,
    RandomEffectGibbs: random_effect_misfits,
    CoupledRandomEffectGibbs: coupled_effect_misfits,
    JointRandomEffectGibbs: coupled_effect_misfits,
    RelativesGibbs: random_effect_misfits,
    SelectionGibbs: selection_misfits,
    ConjugateGibbs: conjugate_misfits,
    SliceGibbs: slice_misfits,
    GaussianGibbs: noise_misfits,
    LatentGibbs: latent_gibbs_misfits,
    LatentHMC: latent_hmc_misfits,
    LiabilityGibbs: liability_misfits,
    ConditionalNUTS: nuts_misfits,
    NetworkNUTS: network_nuts_misfits,
}


def check_conditionals(
    model: Any,
    points: int = 3,
    *,
    random_seed: int = 0,
    step: Any = None,
    latent: Latent = "auto",
) -> pd.DataFrame:
    """Compare what every step draws from with the log density of the model.

    Each step that `nnmm_pymc.assign_steps` gives the model is looked at from outside: its random
    numbers are set by hand, and the density of what it then draws (for trajectories: of what it
    evaluates) must change from one value to another by as much as the log density of the model
    itself, Jacobians of transforms included.

    Parameters
    ----------
    model : pymc.Model or Network
    points : int
        The first is a draw from the prior; each further one is another draw after one more
        iteration of all steps.
    random_seed : int
    step, latent
        As in `nnmm_pymc.assign_steps`.

    Returns
    -------
    DataFrame
        Columns ``variable``, ``step``, ``difference`` (the largest relative difference found) and
        ``ok`` (below 1e-6; no value for steps of another kind). A move of effects with their
        variance or with an intercept, and a trade of variances, has a row of its own.

    Raises
    ------
    InputError
        If there is no model, or no step for one of its variables.

    Examples
    --------
    >>> import nnmm_pymc as nn
    >>> data = nn.simulate(n_individuals=30, n_markers=10, n_omics=2, random_seed=1)
    >>> layers = [nn.Layer("geno", data.genotypes), nn.Layer("omics", data.omics)]
    >>> table = nn.check_conditionals(nn.Network(layers, "omics ~ 1 + geno"), points=1)
    >>> bool(table["ok"].all())
    True
    """
    plan = assign_steps(model_of(model), step, latent=latent)
    return check_plan(plan, points, random_seed)


def model_of(model: Any) -> pm.Model:
    """The model, or that of a network."""
    found = getattr(model, "model", model)
    if not isinstance(found, pm.Model):
        raise InputError(f"Give a Network or a pymc.Model, not {type(model).__name__}.")
    return found


def distinct_steps(plan: StepPlan) -> list[Any]:
    """Steps of a plan, one that runs several times an iteration once."""
    return list({id(s): s for s in plan.compound.methods}.values())


def check_plan(plan: StepPlan, points: int = 3, random_seed: int = 0) -> pd.DataFrame:
    """`check_conditionals` of steps that were assigned before."""
    rng = np.random.default_rng(random_seed)
    look = _Look(plan, Reference(plan.conditional.model), rng)
    for k, start in enumerate(plan.conditional.prior_points(random_seed, points)):
        plan.compound.setup_chain(rng, points, points)
        point = start
        for _ in range(k):
            point, _ = plan.compound.step(point)
        for step in distinct_steps(plan):
            look.at(step, point)
            point, _ = step.step(point)
    return look.table


class _Look:
    """Looks at the steps of a plan, one after the other, and notes their misfits."""

    def __init__(self, plan: StepPlan, reference: Reference, rng: np.random.Generator):
        self.conditional, self.reference, self.rng = plan.conditional, reference, rng
        self.found: dict[tuple[str, str], list[float]] = {}
        model = plan.conditional.model
        values = [model[term.value] for term in plan.conditional.terms]
        self._values = reference.compiled(model.replace_rvs_by_values(values))

    def at(self, step: Any, point: Point) -> None:
        """Look at one step at a point, as the steps before it left things."""
        self._look_at_held_values(point)
        classes = self.reference.draw_classes(point, self.rng)
        for name, drawn in classes.items():
            self.conditional.mixtures[name].hold(point[name], drawn)
        state = State(self.reference, point, classes, self.rng)
        looks = {step.name: MISFITS.get(type(step), _unknown)}
        if isinstance(step, MarkerGibbs) and step.scale is not None:
            joint = isinstance(step, JointMarkerGibbs)
            looks["scale_move"] = joint_scale_misfits if joint else scale_misfits
        parts = step.parts if isinstance(step, RelativesGibbs) else [step]
        randoms = [part for part in parts if isinstance(part, RandomEffectGibbs)]
        if any(part.scale is not None for part in randoms):
            joint = isinstance(step, JointRandomEffectGibbs)
            looks["scale_move"] = joint_scale_misfits if joint else random_scale_misfits
        if any(part.shift is not None for part in randoms):
            looks["shift_move"] = shift_misfits
        if isinstance(step, RelativesGibbs) and step.trade is not None:
            looks["trade_move"] = trade_misfits
        for variable in step.vars:
            self._note(variable.name, step.name)
        for how, misfits in looks.items():
            try:
                for value, misfit in misfits(step, state):
                    self._note(value, how, misfit)
            except (ArithmeticError, np.linalg.LinAlgError, InputError):
                # A step that cannot even be taken here is wrong too.
                for variable in step.vars:
                    self._note(variable.name, how, np.inf)

    def _look_at_held_values(self, point: Point) -> None:
        """Compare the genetic values that steps hold with those of the model, then mend them.

        They follow the residuals of the sweep, float32; what comes after is held to more.
        """
        self.conditional.refresh(point)
        for term, exact in zip(self.conditional.terms, self._values(point), strict=True):
            away = np.abs(term.held.get_value() - exact).max(initial=0.0)
            self._note(term.effects, "held_value", away / (np.abs(exact).max(initial=0.0) + 1.0))
            term.hold(np.array(point[term.effects]), np.array(exact))

    def _note(self, value: str, how: str, *misfits: float) -> None:
        self.found.setdefault((value, how), []).extend(misfits)

    @property
    def table(self) -> pd.DataFrame:
        """Largest misfit of every variable and step."""
        names = self.reference.variables
        # A misfit that is no number is the worst there is; none at all is a step of another kind.
        rows = [
            (names[v], how, np.nan_to_num(m, nan=np.inf, posinf=np.inf).max() if m else np.nan)
            for (v, how), m in self.found.items()
        ]
        table = pd.DataFrame(rows, columns=["variable", "step", "difference"])
        tolerance = np.where(table["step"] == "held_value", FLOAT32, TOLERANCE)
        ok = (table["difference"] < tolerance).astype("boolean")
        return table.assign(ok=ok.mask(table["difference"].isna()))


def _unknown(step: Any, state: State) -> Iterator[tuple[str, float]]:
    """A step of the user's own: nothing is known of it."""
    return iter(())

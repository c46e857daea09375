"""Who updates what: every free variable gets exactly one step, and the user sees which."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pymc as pm
import pytensor
from pymc.step_methods.compound import BlockedStep, CompoundStep, flatten_steps

from nnmm_pymc.errors import InputError
from nnmm_pymc.steps.bounds import liabilities_of
from nnmm_pymc.steps.conditional import ConditionalModel, Point
from nnmm_pymc.steps.conjugate import ConjugateGibbs
from nnmm_pymc.steps.covariance import CovarianceGibbs, find_rows
from nnmm_pymc.steps.families import Conjugate, conjugate_family
from nnmm_pymc.steps.fused import FusedDensity, fused_density
from nnmm_pymc.steps.gaussian import GaussianGibbs, gaussian_pattern
from nnmm_pymc.steps.joint_markers import JointMarkerGibbs, is_coupled
from nnmm_pymc.steps.latent import LatentGibbs
from nnmm_pymc.steps.latent_hmc import LatentHMC
from nnmm_pymc.steps.liability import LiabilityGibbs
from nnmm_pymc.steps.markers import MarkerGibbs
from nnmm_pymc.steps.network_nuts import NetworkNUTS
from nnmm_pymc.steps.nuts import ConditionalNUTS
from nnmm_pymc.steps.partial import PartialFunction
from nnmm_pymc.steps.relatives import RelativesGibbs, random_effect_steps
from nnmm_pymc.steps.selection import SelectionGibbs
from nnmm_pymc.steps.slice import SliceGibbs, elementwise_density

__all__ = ["StepPlan", "assign_steps"]

Latent = Literal["auto", "gibbs", "nuts", "hmc"]


@dataclass(frozen=True, eq=False)
class StepPlan:
    """The steps of one iteration, in order, and what each one updates.

    Attributes
    ----------
    compound : pymc CompoundStep
    conditional : ConditionalModel
    rows : list of (str, str)
        Variable and how it is updated.
    """

    compound: CompoundStep
    conditional: ConditionalModel
    rows: list[tuple[str, str]]

    def __str__(self) -> str:
        width = max(len(name) for name, _ in self.rows)
        return "\n".join(f"{name:<{width}}  {how}" for name, how in self.rows)


def assign_steps(
    model: pm.Model,
    step: BlockedStep | Sequence[BlockedStep] | None = None,
    *,
    conditional: ConditionalModel | None = None,
    latent: Latent = "auto",
    target_accept: float = 0.8,
    threads: int = 1,
    ahead: Callable[[Sequence[BlockedStep], Point], None] | None = None,
) -> StepPlan:
    """Give every free variable of a model one owner.

    Marker effects go to `MarkerGibbs`, those on traits that depend on each other to
    `JointMarkerGibbs`, covariance matrices to `CovarianceGibbs`, weights with such a prior to
    `SelectionGibbs`, random effects to `RandomEffectGibbs` (`CoupledRandomEffectGibbs` where the
    residuals of traits correlate, `JointRandomEffectGibbs` where the effects do), liabilities to
    `LiabilityGibbs`;
    missing omics that act linearly to `LatentGibbs`; variances, probabilities and mixture weights
    with a conjugate conditional to `ConjugateGibbs`; intercepts, fixed effects and weights that are
    Gaussian given the rest to `GaussianGibbs`, unless they share a likelihood with something that
    is not. That goes to NUTS; so do odd hyper-parameters that depend on each other, in a trajectory
    of their own; others are slice-sampled (`SliceGibbs`).

    Parameters
    ----------
    model : pymc.Model
    step : step or list of steps, optional
        Steps of the user's own; the variables they name are theirs.
    conditional : ConditionalModel, optional
    latent : {"auto", "gibbs", "nuts", "hmc"}
        How the missing cells of an omics layer are drawn: exactly (an identity activation only), by
        NUTS together with the weights, or by Hamiltonian moves of each individual (`LatentHMC`).
        ``"auto"``: exactly where that can be, by Hamiltonian moves where nobody measured the layer
        (more effective draws a second there), else by NUTS.
    target_accept : float
        For NUTS.
    threads : int
        Of each sweep over the markers.
    ahead : callable, optional
        Given the steps of marker effects, which take long to compile, as soon as there are any, and
        a point at which they can be made.

    Raises
    ------
    InputError
        If two steps own a variable, or none can.
    """
    conditional = conditional if conditional is not None else ConditionalModel(model)
    given = _given_steps(step)
    owned = [v.name for s in given for v in s.vars]
    doubled = sorted({name for name in owned if owned.count(name) > 1})
    if doubled:
        raise InputError(f"Two steps update {', '.join(doubled)}; each variable needs one.")
    free = [v.name for v in model.value_vars if v.name not in owned]

    # Where in the source a node was made helps nobody here, and costs a fifth of the time.
    with model, pytensor.config.change_flags(traceback__limit=0):
        markers = [
            (JointMarkerGibbs if is_coupled(conditional, t) else MarkerGibbs)(
                [conditional.model_value(t.effects)], conditional=conditional, threads=threads
            )
            for t in conditional.marker_terms
            if t.effects in free
        ]
        if ahead is not None:
            ahead(markers, conditional.check_points[0])
        randoms = random_effect_steps(conditional, free)
        liabilities, bound = _liability_steps(conditional, free)
        free = [v for v in free if v not in bound]
        selections = [
            SelectionGibbs([conditional.model_value(v)], conditional=conditional)
            for v in conditional.effects
            if v in free and conditional.term_of(v) is None
        ]
        drawn = {*conditional.effects, *(t.effects for t in conditional.terms)}
        free = [v for v in free if v not in drawn]
        _refuse_alone(conditional, free)
        rows = {v: found for v in free if (found := find_rows(conditional, v))}
        free = [v for v in free if v not in rows]
        covariances = [
            CovarianceGibbs([conditional.model_value(v)], rows=found, conditional=conditional)
            for v, found in rows.items()
        ]
        _refuse_discrete(model, free)
        conjugates = [c for v in free if (c := conjugate_family(conditional, v)) is not None]
        taken = {c.value for c in conjugates}
        steps: list[BlockedStep] = [*given, *liabilities, *markers, *randoms, *selections]
        rest = [v for v in free if v not in taken]

        fused = fused_density(conditional)
        if latent == "auto" and fused is not None and _is_hidden(fused, rest):
            latent = "hmc"
        if fused is not None and latent == "gibbs" and fused.network.activation != "identity":
            raise InputError(
                f"latent='gibbs' needs an identity activation, not {fused.network.activation!r}."
            )
        if (
            fused is not None
            and fused.network.activation == "identity"
            and latent in ("auto", "gibbs")
            and (missing := fused.network.missing) in rest
        ):
            steps.append(LatentGibbs([conditional.model_value(missing)], density=fused))
            rest.remove(missing)
        elif latent == "gibbs" and any(v.endswith("_missing") for v in rest):
            raise InputError(
                "latent='gibbs' needs one omics layer with missing cells that acts on traits by "
                "its values alone, all Gaussian; use latent='nuts'."
            )
        if fused is not None and latent == "hmc" and set(fused.names) <= set(rest):
            cells = [conditional.model_value(v) for v in fused.names]
            steps.append(LatentHMC(cells, density=fused))
            rest = [v for v in rest if v not in fused.names]
        elif latent == "hmc":
            raise InputError(
                "latent='hmc' needs one omics layer with missing cells that acts on traits through "
                "a built-in activation, all Gaussian; use latent='nuts'."
            )
        split = _split(conditional, rest)
        steps += [
            GaussianGibbs(
                [conditional.model_value(v) for v in group],
                pattern=pattern,
                conditional=conditional,
            )
            for group, pattern in split.gaussian
        ]
        trajectories = [
            _nuts(conditional, group, fused, first=k == 0, target_accept=target_accept)
            for k, group in enumerate(split.nuts)
        ]
        steps += trajectories
        slices = [
            SliceGibbs([conditional.model_value(v)], density=density, conditional=conditional)
            for v, density in split.slices.items()
        ]
        variances = [
            ConjugateGibbs(
                [conditional.model_value(c.value) for c in group],
                conjugates=group,
                conditional=conditional,
            )
            for group in _independent_groups(conditional, conjugates)
        ]
    hyper = [*slices, *variances, *covariances]
    table = _rows(model, [*steps, *hyper])
    return StepPlan(CompoundStep([*steps, *hyper]), conditional, table)


def _is_hidden(fused: FusedDensity, values: list[str]) -> bool:
    """Whether nobody measured the layer, and no step of another kind owns any of its variables."""
    bends = fused.network.activation != "identity"
    return bends and not fused.seen.any() and set(fused.names) <= set(values)


def _liability_steps(
    conditional: ConditionalModel, free: list[str]
) -> tuple[list[BlockedStep], list[str]]:
    """Steps of liabilities, which come first: prior draws of them know nothing of their records."""
    steps: list[BlockedStep] = []
    owned = []
    for liability in liabilities_of(conditional.model):
        names = [liability.name, *([liability.gaps] if liability.gaps else [])]
        if not set(names) <= set(free):
            continue
        values = [conditional.model_value(name) for name in names]
        if liability.count:
            density = elementwise_density(conditional, liability.name)
            assert density is not None
            steps.append(SliceGibbs(values, density=density, conditional=conditional))
        else:
            steps.append(LiabilityGibbs(values, liability=liability, conditional=conditional))
        owned += names
    return steps, owned


def _given_steps(step: Any) -> list[BlockedStep]:
    if step is None:
        return []
    if isinstance(step, BlockedStep | CompoundStep):
        return flatten_steps(step)
    return [s for one in step for s in flatten_steps(one)]


def _refuse_alone(conditional: ConditionalModel, values: list[str]) -> None:
    for name in conditional.joint_effects:
        if name in values:
            raise InputError(
                f"The joint effects {name!r} multiply no genotypes; write "
                f"pm.Deterministic('genetic_value', genetic_value(genotypes, {name})) in the model."
            )


def _refuse_discrete(model: pm.Model, values: list[str]) -> None:
    for variable in model.value_vars:
        if variable.name in values and not np.issubdtype(np.dtype(variable.dtype), np.floating):
            raise InputError(
                f"{variable.name!r} is discrete and no step here updates it; pass one in step=, "
                f"for example pm.BinaryGibbsMetropolis([{variable.name}]), or sum it out."
            )


def _nuts(
    conditional: ConditionalModel,
    group: list[str],
    fused: FusedDensity | None,
    *,
    first: bool,
    target_accept: float,
) -> ConditionalNUTS:
    names = [v.name for v in conditional.model.value_vars if v.name in group]
    variables = [conditional.model_value(v) for v in names]
    prefix = "" if first else f"{conditional.rvs[names[0]].name}_"
    options: dict[str, Any] = {"prefix": prefix, "target_accept": target_accept}
    if fused is not None and names == fused.names:
        return NetworkNUTS(variables, fused=fused, **options)
    hyper = all(_is_hyper(conditional, name) for name in names)
    return ConditionalNUTS(variables, conditional=conditional, interpreted=hyper, **options)


@dataclass(frozen=True)
class _Split:
    """Who updates what has no conjugate update: the first group of NUTS holds the locations."""

    gaussian: list[tuple[list[str], np.ndarray]]
    nuts: list[list[str]]
    slices: dict[str, PartialFunction]


def _split(conditional: ConditionalModel, values: list[str]) -> _Split:
    """Split variables into jointly Gaussian groups, slice-sampled ones, and trajectories of NUTS.

    A Gaussian variable that shares a factor with one of NUTS goes with it: missing omics and their
    weights are too strongly coupled to be moved one after the other. Hyper-parameters are apart:
    they enter no likelihood, or are bounded as scales and probabilities are.
    """
    factors = {v: set(conditional.factors_of(conditional.values[v])) for v in values}
    gaussian: list[str] = []
    hyper: list[str] = []
    nuts: list[str] = []
    for value in values:
        if gaussian_pattern(conditional, [value]) is not None:
            gaussian.append(value)
        else:
            (hyper if _is_hyper(conditional, value) else nuts).append(value)
    slices: dict[str, PartialFunction] = {}
    groups = []
    for group in _connected(hyper, factors):
        densities = {v: d for v in group if (d := elementwise_density(conditional, v)) is not None}
        if len(densities) == len(group):
            slices |= densities
        else:
            groups.append(group)
    while joined := [
        v for v in gaussian if any(factors[v] & factors[w] for g in [nuts, *groups] for w in g)
    ]:
        nuts += joined
        gaussian = [v for v in gaussian if v not in joined]
    gaussian_groups = []
    for group in _connected(gaussian, factors):
        pattern = gaussian_pattern(conditional, group)
        if pattern is None:
            nuts += group
        else:
            gaussian_groups.append((group, pattern))
    nuts_groups = _connected([*nuts, *(v for g in groups for v in g)], factors)
    return _Split(gaussian_groups, nuts_groups, slices)


def _is_hyper(conditional: ConditionalModel, value: str) -> bool:
    """Whether a variable is bounded, or enters only the priors of other variables."""
    if conditional.conditional.rvs_to_transforms[conditional.rvs[value]] is not None:
        return True
    free = {rv.name for rv in conditional.rvs.values()}
    free |= {name for e in conditional.effects for name in conditional.effect_factors(e)}
    return set(conditional.factors_of(conditional.values[value])) <= free


def _connected(values: list[str], factors: dict[str, set[str]]) -> list[list[str]]:
    """Variables grouped so that those of different groups share no factor."""
    groups: list[list[str]] = []
    for value in values:
        touching = [g for g in groups if any(factors[value] & factors[v] for v in g)]
        merged = [v for g in touching for v in g] + [value]
        groups = [g for g in groups if g not in touching] + [merged]
    return groups


def _independent_groups(
    conditional: ConditionalModel, conjugates: list[Conjugate]
) -> list[list[Conjugate]]:
    """Conjugate variables grouped so that no two of a group share a factor."""
    groups: list[list[Conjugate]] = []
    factors = {
        c.value: set(conditional.factors_of(conditional.values[c.value])) for c in conjugates
    }
    for c in conjugates:
        for group in groups:
            if not any(factors[c.value] & factors[other.value] for other in group):
                group.append(c)
                break
        else:
            groups.append([c])
    return groups


def _rows(model: pm.Model, steps: list[BlockedStep]) -> list[tuple[str, str]]:
    names = {model.rvs_to_values[rv].name: rv.name for rv in model.free_RVs}
    rows = []
    for step in steps:
        details = [""] * len(step.vars)
        if isinstance(step, ConjugateGibbs):
            details = [f": {c.describe()}" for c in step.conjugates]
        if isinstance(step, RelativesGibbs):
            details = [f": {step.describe()}"] * len(step.vars)
        for variable, detail in zip(step.vars, details, strict=True):
            rows.append((names[variable.name], f"{step.name}{detail}"))
    missing = set(names.values()) - {name for name, _ in rows}
    if missing:
        raise InputError(f"No step updates {', '.join(sorted(missing))}.")
    return rows

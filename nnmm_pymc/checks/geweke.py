r"""`geweke`: what a sampler leaves alone, if it is right, is prior and data together.

Draws of the unknowns :math:`\theta` from the prior with data y simulated from them are draws from
:math:`p(\theta, y)`. So are, in the long run, those of a chain that takes one iteration of all
steps given y and then draws y again given :math:`\theta` (Geweke 2004, J Am Stat Assoc 99:799). And
transitions of one step from an exact draw must give another: this needs no chain, so that every
step is tested alone with independent draws (Gandy & Scott 2020, arXiv:2001.06465).

Compared are moments of functions of both: all unknowns, and the log density of every variable, data
included. Without the data a step that ignored them would pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import arviz_stats
import numpy as np
import pandas as pd
import xarray as xr

from nnmm_pymc.checks.conditionals import model_of
from nnmm_pymc.checks.joint import JointModel
from nnmm_pymc.checks.reference import Classes
from nnmm_pymc.errors import InputError
from nnmm_pymc.joint_effects import joint_effects_of
from nnmm_pymc.steps.conditional import Point
from nnmm_pymc.steps.plan import Latent
from nnmm_pymc.steps.terms import marker_effects_of

__all__ = ["geweke"]

LEAST_DRAWS, COMPILED_DRAWS = 50, 3000
# Of a step alone, and iterations of all: errors of trajectories add up.
TRANSITIONS = 3
# With fewer effective draws the error of a chain's mean is not known.
LEAST_EFFECTIVE = 100
ALL, CHAIN = "all steps", "chain"


def geweke(
    model: Any,
    draws: int = 1000,
    *,
    random_seed: int = 0,
    latent: Latent = "auto",
    only: str | None = None,
) -> pd.DataFrame:
    """Test the sampler of a model by Geweke's joint distribution test.

    Use a model with few individuals: the more data say about the unknowns, the less a chain that
    draws them again moves.

    Parameters
    ----------
    model : pymc.Model or Network
        All priors must be proper.
    draws : int
        From the prior, and of each chain.
    random_seed : int
    latent
        As in `nnmm_pymc.assign_steps`.
    only : str, optional
        A kind of step, such as ``"nuts"``: it is tested alone, and no chain is run after tuning.

    Returns
    -------
    DataFrame
        A row for each step, for ``"all steps"`` one after the other, and for the ``"chain"`` that
        draws the data again (not where data are categories of liabilities: these fix each other);
        quantity and moment: ``prior`` and ``sampler`` means, ``effective``
        draws, and ``z``, their difference over its Monte Carlo error, standard normal if the step
        is right (none where a chain had fewer than 100 effective draws). Quantities are the
        unknowns on the scale on which they are sampled and ``log p(...)`` of every variable; all
        are taken relative to median and quartiles of the prior and bent into (-1, 1),
        t / sqrt(1 + t^2), since many priors of variances have no second moment.

    Raises
    ------
    InputError
        If the model has potentials, a prior is improper or too vague to draw from, or draws are
        too few.

    Examples
    --------
    >>> import nnmm_pymc as nn
    >>> import pymc as pm
    >>> with pm.Model() as model:
    ...     variance = pm.InverseGamma("variance", 4, 3)
    ...     y = pm.Normal("y", pm.Normal("mean", 0, 1), variance**0.5, observed=[0.2, -0.4, 1.1])
    >>> bool(nn.geweke(model, draws=500)["z"].abs().max() < 4)
    True
    """
    if draws < LEAST_DRAWS:
        raise InputError(f"draws={draws} are too few for a test; take at least {LEAST_DRAWS}.")
    joint = JointModel(model_of(model), random_seed, latent, draws >= COMPILED_DRAWS)
    tested = [s for s in joint.steps if only in (None, s.name)]
    if not tested:
        known = ", ".join(dict.fromkeys(s.name for s in joint.steps))
        raise InputError(f"only={only!r} is no step of this model; its steps are {known}.")
    rng = np.random.default_rng(random_seed)
    statistics = _Statistics(joint)
    in_turn = only is None and not joint.data_follow
    chain = _chain(joint, statistics, draws if in_turn else 0, rng)
    names = joint.reference.variables
    takes = {f"{s.name}: {', '.join(names[v.name] for v in s.vars)}": s.step for s in tested}
    if only is None:
        takes[ALL] = joint.plan.compound.step
    prior, transitions = _transitions(joint, statistics, takes, draws, rng)
    moments = statistics.moments(prior)
    tables = [_compare_pairs(how, moments, prior, after) for how, after in transitions.items()]
    if in_turn:
        tables.append(_compare_chain(moments, prior, chain))
    return pd.concat(tables, ignore_index=True)


class _Statistics:
    """All unknowns and log densities of a state, as one vector."""

    def __init__(self, joint: JointModel):
        self.joint = joint
        point, _ = joint.draw()
        names = joint.reference.variables
        effects = [*marker_effects_of(joint.model), *joint_effects_of(joint.model)]
        spiked = {rv.name for rv in effects}
        self.labels: list[str] = []
        self.spiked: list[bool] = []
        for value, array in point.items():
            own = names[value]
            for index in np.ndindex(np.shape(array)):
                self.labels.append(own + (f"[{', '.join(map(str, index))}]" if index else ""))
                self.spiked.append(own in spiked)
        classes = joint.reference.draw_classes(point, np.random.default_rng(0))
        factors = joint.reference.factors(point, classes)
        self.labels += [f"log p({name})" for name in factors]
        self.spiked += [False] * len(factors)

    def __call__(self, point: Point, classes: Classes) -> np.ndarray:
        factors = self.joint.reference.factors(point, classes)
        unknowns = [np.ravel(point[name]) for name in self.joint.names]
        return np.concatenate([*unknowns, [np.sum(f) for f in factors.values()]])

    def moments(self, prior: np.ndarray) -> _Moments:
        """Functions whose means are compared, scaled by draws from the prior."""
        low, median, high = np.quantile(prior, [0.25, 0.5, 0.75], axis=0)
        spread = np.where(high > low, high - low, prior.std(axis=0))
        return _Moments(
            self.labels, np.array(self.spiked), median, np.where(spread > 0, spread, 1.0)
        )


class _Moments:
    """Mean and mean square of bent quantities, and whether effects are included."""

    def __init__(
        self, labels: list[str], spiked: np.ndarray, median: np.ndarray, spread: np.ndarray
    ):
        self.median, self.spread, self.spiked = median, spread, spiked
        kinds = [(n, kind) for kind in ("mean", "square") for n in labels]
        kinds += [(n, "included") for n, s in zip(labels, spiked, strict=True) if s]
        self.labels = pd.DataFrame(kinds, columns=["quantity", "moment"])

    def __call__(self, draws: np.ndarray) -> np.ndarray:
        t = (draws - self.median) / self.spread
        bent = t / np.sqrt(1.0 + t**2)
        return np.hstack([bent, bent**2, draws[:, self.spiked] != 0.0])


def _chain(
    joint: JointModel, statistics: _Statistics, draws: int, rng: np.random.Generator
) -> np.ndarray:
    """Successive-conditional draws, after the steps have tuned themselves in the same way."""
    tune = max(200, draws // 5)
    joint.plan.compound.setup_chain(rng, tune, draws)
    point, data = joint.draw()
    joint.set_data(data)
    kept = []
    for iteration in range(tune + draws):
        point, _ = joint.plan.compound.step(point)
        if iteration >= tune:
            joint.plan.conditional.refresh(point)
            kept.append(statistics(point, joint.held_classes))
        joint.set_data(joint.draw_data(point))
        if iteration == tune - 1:
            joint.stop_tuning()
    return np.array(kept)


def _transitions(
    joint: JointModel,
    statistics: _Statistics,
    takes: Mapping[str, Callable[[Point], tuple[Point, Any]]],
    draws: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Independent draws of everything, and where a few transitions of each kind take them."""
    before: list[np.ndarray] = []
    after: dict[str, list[np.ndarray]] = {label: [] for label in takes}
    for _ in range(draws):
        point, data = joint.draw()
        joint.set_data(data)
        classes = joint.reference.draw_classes(point, rng)
        before.append(statistics(point, classes))
        for label, take in takes.items():
            joint.hold_classes(point, classes)
            new = point
            for _ in range(TRANSITIONS):
                new, _ = take(new)
            joint.plan.conditional.refresh(new)
            after[label].append(statistics(new, joint.held_classes))
    return np.array(before), {label: np.array(rows) for label, rows in after.items()}


def _compare_chain(moments: _Moments, prior: np.ndarray, chain: np.ndarray) -> pd.DataFrame:
    exact, found = moments(prior), moments(chain)
    draws = xr.Dataset({"f": (("chain", "draw", "k"), found[None])})
    error = np.hypot(arviz_stats.mcse(draws)["f"], exact.std(axis=0, ddof=1) / np.sqrt(len(exact)))
    table = moments.labels.assign(
        step=CHAIN,
        prior=exact.mean(axis=0),
        sampler=found.mean(axis=0),
        effective=arviz_stats.ess(draws, method="mean")["f"].to_numpy(),
        z=_score(found.mean(axis=0) - exact.mean(axis=0), np.asarray(error)),
    )
    return table.assign(z=table["z"].where(table["effective"] >= LEAST_EFFECTIVE))


def _compare_pairs(
    label: str, moments: _Moments, prior: np.ndarray, after: np.ndarray
) -> pd.DataFrame:
    exact, found = moments(prior), moments(after)
    change = found - exact
    error = change.std(axis=0, ddof=1) / np.sqrt(len(change))
    table = moments.labels.assign(
        step=label,
        prior=exact.mean(axis=0),
        sampler=found.mean(axis=0),
        effective=float(len(change)),
        z=_score(change.mean(axis=0), error),
    )
    return table[np.any(change != 0.0, axis=0)]


def _score(difference: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Difference over its error; a constant is equal or not."""
    with np.errstate(all="ignore"):
        return np.where(difference == 0.0, 0.0, difference / error)

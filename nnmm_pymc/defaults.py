"""Priors that a user left out, derived from the data as the field does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import singledispatch
from typing import Any

import numpy as np
import pandas as pd

from nnmm_pymc.alphabet import (
    GBLUP,
    BayesA,
    BayesL,
    BayesR,
    Horseshoe,
    MarkerPrior,
)
from nnmm_pymc.errors import InputError
from nnmm_pymc.joint_priors import JointBayesC, JointPrior, pattern_matrix
from nnmm_pymc.prior_groups import (
    MarkerGroups,
    column_groups,
    group_index,
    group_label,
    group_priors,
)
from nnmm_pymc.priors import CovariancePrior, Prior

__all__ = ["EffectData", "complete", "complete_covariance", "variance_prior"]

#: Degrees of freedom of the scaled inverse chi-square priors of variances.
VARIANCE_DF = 5.0
#: Traits up to which every pattern has a probability of its own.
FREE_PATTERNS = 4


@dataclass(frozen=True, eq=False)
class EffectData:
    """What the prior of the effects of one term is derived from.

    Attributes
    ----------
    markers, columns : sequence of str
        What has effects, and on what: markers on omics, or omics on traits.
    variances : (p,) array
        Variance of each marker.
    mask : (p, k) array of bool, optional
        Which marker reaches which column; all by default.
    column_variance : (k,) array
        Observed variance of each column.
    heritability : float
        Share of that variance that the term should explain.
    n : int
        Number of individuals.
    info : DataFrame, optional
        Marker table, for groups of markers.
    """

    markers: Any
    columns: tuple[str, ...]
    variances: np.ndarray
    mask: np.ndarray | None
    column_variance: np.ndarray
    heritability: float
    n: int
    info: pd.DataFrame | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of markers and columns."""
        return len(self.variances), len(self.columns)

    @property
    def total_variance(self) -> np.ndarray:
        """Sum of the variances of the markers that may reach each column."""
        everything = self.variances.sum()
        reached = everything if self.mask is None else self.variances @ self.mask
        # Where no marker reaches, nothing depends on the prior; it keeps a sensible scale.
        reached = np.where(reached > 0.0, reached, everything)
        return np.maximum(np.broadcast_to(reached, len(self.columns)), 1e-12)

    @property
    def marker_variance(self) -> np.ndarray:
        """Slab variance that explains the term's share if every marker has an effect."""
        return self.heritability * self.column_variance / self.total_variance

    def take(self, *, columns: Any = None, markers: Any = None) -> EffectData:
        """The part of some columns or markers, by position.

        The scale of the slab stays that of all markers: a group of them explains its share.
        """
        mask = self.mask
        if columns is not None:
            mask = None if mask is None else mask[:, columns]
            names = tuple(np.asarray(self.columns)[columns])
            return replace(
                self, mask=mask, columns=names, column_variance=self.column_variance[columns]
            )
        share = self.variances[markers].sum() / max(self.variances.sum(), 1e-12)
        return replace(
            self,
            markers=np.asarray(self.markers)[markers],
            variances=self.variances[markers],
            mask=None if mask is None else mask[markers],
            heritability=self.heritability * share,
        )


def variance_prior(mean: np.ndarray) -> Prior:
    """Scaled inverse chi-square with 5 degrees of freedom and this mean, as an InverseGamma."""
    return Prior("InverseGamma", alpha=VARIANCE_DF / 2, beta=mean * (VARIANCE_DF - 2) / 2)


@singledispatch
def complete(prior: Any, data: EffectData) -> Any:
    """A prior of marker effects with its missing parts filled in; formulas stand in each class.

    Raises
    ------
    InputError
        It is no prior of marker effects, or names columns or groups that do not exist.
    """
    raise InputError(
        f"The prior of markers is {prior!r}; give one of marker effects, such as BayesC()."
    )


@complete.register(MarkerPrior)
def _(prior: MarkerPrior, data: EffectData) -> MarkerPrior:
    if prior.inclusion is None:
        prior = replace(prior, inclusion=1.0)
    if prior.slab_variance is not None:
        return prior
    slab = variance_prior(data.marker_variance / _prior_mean(prior.inclusion))
    return replace(prior, slab_variance=slab)


@complete.register(BayesA)
def _(prior: BayesA, data: EffectData) -> BayesA:
    if prior.slab_variance is not None or prior.scale is not None:
        return prior
    mean = data.marker_variance / _prior_mean(prior.inclusion)
    return replace(prior, scale=variance_prior(mean * (VARIANCE_DF - 2) / VARIANCE_DF))


@complete.register(GBLUP)
def _(prior: GBLUP, data: EffectData) -> GBLUP:
    if prior.genetic_variance is not None:
        return prior
    return replace(prior, genetic_variance=variance_prior(data.heritability * data.column_variance))


@complete.register(BayesL)
def _(prior: BayesL, data: EffectData) -> BayesL:
    if prior.lambda_squared is not None:
        return prior
    mode = 2.0 * (1.0 - data.heritability) / data.heritability * data.total_variance
    return replace(prior, lambda_squared=Prior("Gamma", alpha=1.1, beta=0.1 / mode))


@complete.register(BayesR)
def _(prior: BayesR, data: EffectData) -> BayesR:
    n_classes = 1 + len(prior.class_variances)
    given = prior.class_probabilities
    if given is None:
        given = Prior("Dirichlet", a=[1.0] * n_classes)
        prior = replace(prior, class_probabilities=given)
    if prior.slab_variance is not None:
        return prior
    mean = np.full(n_classes, 1.0 / n_classes)
    if isinstance(given, Prior) and given.name == "Dirichlet":
        a = np.asarray(given.parameters["a"], float)
        mean = a / a.sum(axis=-1, keepdims=True)
    elif not isinstance(given, Prior) and not callable(given):
        mean = np.asarray(given, float)
    if mean.shape[-1] != n_classes:
        raise InputError(
            f"BayesR: class_probabilities has {mean.shape[-1]} entries, but there are "
            f"{n_classes} classes: the spike and {n_classes - 1} class_variances."
        )
    share = mean[..., 1:] @ np.array(prior.class_variances)
    return replace(prior, slab_variance=variance_prior(data.marker_variance / share))


@complete.register(Horseshoe)
def _(prior: Horseshoe, data: EffectData) -> Horseshoe:
    p = len(data.variances)
    causal = max(1.0, p / 100) if prior.n_causal is None else float(prior.n_causal)
    if not 0 < causal < p and p > 1:
        raise InputError(f"Horseshoe: n_causal={causal:g} must be below the {p} markers.")
    if prior.global_scale is None:
        ratio = causal / max(p - causal, 1.0)
        typical = np.maximum(data.total_variance / p, 1e-12)
        scale = ratio * np.sqrt(0.5 * data.column_variance / (max(1, data.n) * typical))
        prior = replace(prior, global_scale=Prior("HalfCauchy", beta=scale))
    if prior.slab_variance is None:
        square = data.marker_variance * p / causal
        prior = replace(prior, slab_variance=Prior("InverseGamma", alpha=2.0, beta=2.0 * square))
    return prior


@complete.register(JointPrior)
def _(prior: JointPrior, data: EffectData) -> JointPrior:
    if len(data.columns) < 2 or data.mask is not None:
        raise InputError(
            f"{type(prior).__name__} is for the effects of all markers on several columns; without "
            "connections, and with two columns at least."
        )
    share = np.ones(len(data.columns))
    if isinstance(prior, JointBayesC):
        patterns = pattern_matrix(prior, len(data.columns))
        prior = _complete_patterns(prior, patterns)
        share = _prior_shares(prior, patterns)
    return replace(
        prior, covariance=complete_covariance(prior.covariance, data.marker_variance / share)
    )


def complete_covariance(prior: Any, variance: np.ndarray) -> Any:
    """A prior of a covariance matrix, its scales filled in to give variances like these."""
    given = CovariancePrior() if prior is None else prior
    if isinstance(given, CovariancePrior) and given.scale is None:
        return replace(given, scale=np.sqrt(variance))
    return given


def _complete_patterns(prior: JointBayesC, patterns: np.ndarray) -> JointBayesC:
    if prior.pattern_probabilities is not None or prior.trait_inclusion is not None:
        return prior
    if prior.patterns is None and patterns.shape[1] > FREE_PATTERNS:
        return replace(prior, trait_inclusion=Prior("Beta", alpha=1, beta=1))
    return replace(prior, pattern_probabilities=Prior("Dirichlet", a=[1.0] * len(patterns)))


def _prior_shares(prior: JointBayesC, patterns: np.ndarray) -> np.ndarray:
    """Prior mean of the inclusion probability of every trait; one half where it cannot be told."""
    given = prior.pattern_probabilities
    if prior.trait_inclusion is not None:
        return np.full(patterns.shape[1], _prior_mean(prior.trait_inclusion))
    if isinstance(given, Prior) and given.name == "Dirichlet":
        given = np.asarray(given.parameters["a"], float)
    if isinstance(given, Prior) or callable(given):
        return np.full(patterns.shape[1], 0.5)
    weights = np.asarray(given, float)
    if weights.shape[-1:] != (len(patterns),):
        raise InputError(
            f"JointBayesC: pattern_probabilities must have {len(patterns)} entries, one for each "
            "pattern."
        )
    share = weights.reshape(-1, len(patterns)) @ patterns
    return np.maximum(share.mean(axis=0) / weights.sum(axis=-1).mean(), 1e-12)


@complete.register(Mapping)
def _(prior: Mapping, data: EffectData) -> dict[Any, Any]:
    groups = column_groups(prior, data.columns, "marker effects")
    keys = {label: key for key in prior for label in [group_label(key)]}
    return {keys[label]: complete(p, data.take(columns=columns)) for label, columns, p in groups}


@complete.register(MarkerGroups)
def _(prior: MarkerGroups, data: EffectData) -> MarkerGroups:
    labels, group = group_index(prior, data.markers, data.info, "marker effects")
    if isinstance(prior.priors, MarkerPrior):
        return replace(prior, priors=complete(prior.priors, data))
    groups = group_priors(prior, labels, group, "marker effects")
    return replace(
        prior, priors={g: complete(p, data.take(markers=markers)) for g, markers, p in groups}
    )


def _prior_mean(inclusion: Any) -> float:
    """Prior mean of an inclusion probability; one half where it cannot be told."""
    if isinstance(inclusion, int | float):
        return max(float(inclusion), 1e-12)
    if isinstance(inclusion, Prior) and inclusion.name == "Beta":
        a, b = inclusion.parameters.get("alpha"), inclusion.parameters.get("beta")
        if isinstance(a, int | float) and isinstance(b, int | float):
            return a / (a + b)
    return 0.5

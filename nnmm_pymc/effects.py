"""From a prior of the alphabet to a `MarkerEffects` variable of the open PyMC model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import singledispatch
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt

from nnmm_pymc.alphabet import (
    GBLUP,
    BayesA,
    BayesL,
    BayesR,
    Horseshoe,
    MarkerPrior,
)
from nnmm_pymc.defaults import EffectData
from nnmm_pymc.distributions import MarkerEffects
from nnmm_pymc.errors import InputError
from nnmm_pymc.joint_effects import JointMarkerEffects
from nnmm_pymc.joint_priors import JointBayesC, JointPrior, pattern_matrix
from nnmm_pymc.prior_groups import MarkerGroups, column_groups, group_index, group_priors
from nnmm_pymc.priors import Prior
from nnmm_pymc.variables import create, create_covariance

__all__ = ["create_effects", "create_joint_effects", "create_smooth_effects"]


@dataclass(frozen=True, eq=False)
class _Scope:
    """The effects that one prior is for, and how its hyper-parameters are called.

    Attributes
    ----------
    name : str
        Before the name of each hyper-parameter.
    marker_dim, column_dim : str
    data : EffectData
    residual : (k,) expression
        Residual variances of the columns.
    group_dim : str, optional
        Hyper-parameters have a value for each of these groups of markers.
    group : (p,) array of int, optional
        Group of each marker.
    """

    name: str
    marker_dim: str
    column_dim: str
    data: EffectData
    residual: Any
    group_dim: str | None = None
    group: np.ndarray | None = None

    @property
    def dims(self) -> tuple[str, ...]:
        return (self.column_dim,) if self.group_dim is None else (self.group_dim, self.column_dim)

    @property
    def own_dims(self) -> tuple[str, ...]:
        return (self.marker_dim, self.column_dim)

    def hyper(self, prior: Any, suffix: str, *, own: bool = False) -> Any:
        """A hyper-parameter as a (1 or marker, 1 or column) matrix."""
        value = create(prior, f"{self.name}_{suffix}", self.own_dims if own else self.dims)
        return self.spread(value, 0)

    def spread(self, value: Any, n_classes: int) -> Any:
        """A value by marker, by group, by column, or one for all, in front of a class axis or none.

        A vector is one of the columns where its length does not tell otherwise.
        """
        value = pt.as_tensor(value)
        rank = value.ndim - n_classes
        shape = tuple(int(s) for s in value.shape[:rank].eval(mode="FAST_COMPILE")) if rank else ()
        p, k = self.data.shape
        n_groups = -1 if self.group is None else int(self.group.max()) + 1
        if rank == 0:
            return value[None, None]
        if rank == 1 and shape[0] != k:
            value, shape = value[:, None], (shape[0], 1)
        elif rank == 1:
            value, shape = value[None], (1, k)
        if self.group is not None and shape[0] == n_groups and p != n_groups:
            value, shape = value[self.group], (p, shape[1])
        if rank > 2 or shape[0] not in (1, p) or shape[1] not in (1, k):
            raise InputError(
                f"A hyper-parameter of {self.name!r} has shape {shape}; give one value for all, or "
                f"one for each of the {k} columns, the {p} markers, or both as {(p, k)}."
            )
        return value

    def take(self, columns: np.ndarray, label: str) -> _Scope:
        """The part of some columns."""
        dim = f"{self.name}_{label}_column"
        names = np.asarray(self.data.columns)[columns]
        pm.modelcontext(None).add_coord(dim, list(names))
        residual = self.residual[columns]
        data = self.data.take(columns=columns)
        return replace(
            self, name=f"{self.name}_{label}", column_dim=dim, data=data, residual=residual
        )

    def take_markers(self, markers: np.ndarray, label: str) -> _Scope:
        """The part of some markers."""
        dim = f"{self.name}_{label}_marker"
        names = np.asarray(self.data.markers)[markers]
        pm.modelcontext(None).add_coord(dim, list(names))
        data = self.data.take(markers=markers)
        return replace(self, name=f"{self.name}_{label}", marker_dim=dim, data=data)


def create_effects(
    name: str, prior: Any, dims: tuple[str, str], data: EffectData, residual: Any
) -> Any:
    """A `MarkerEffects` variable and its hyper-parameters.

    Parameters
    ----------
    name : str
        Of the variable; hyper-parameters are called ``<name>_inclusion`` and so on.
    prior : MarkerPrior, MarkerGroups, or mapping from columns to these
        With its defaults filled in (`nnmm_pymc.defaults.complete`).
    dims : (marker dim, column dim)
    data : EffectData
    residual : (k,) expression
        Residual variances of the columns.
    """
    inclusion, slab_variance = _parameters(prior, _Scope(name, *dims, data, residual))
    if data.mask is not None:
        inclusion = inclusion * data.mask[..., None].astype(float)
    return MarkerEffects(
        name, inclusion=inclusion, slab_variance=slab_variance, classes=True, dims=dims
    )


def create_joint_effects(
    name: str, prior: JointPrior, dims: tuple[str, str], other_dim: str, data: EffectData
) -> Any:
    """A `JointMarkerEffects` variable, the covariance of its effects and its patterns.

    Parameters
    ----------
    name, dims, data
        As in `create_effects`.
    prior : JointPrior
    other_dim : str
        Dim of the columns of a covariance matrix.
    """
    covariance = create_covariance(prior.covariance, f"{name}_covariance", (dims[1], other_dim))
    if not isinstance(prior, JointBayesC):
        patterns, probabilities = np.ones((1, len(data.columns))), np.ones(1)
    else:
        patterns = pattern_matrix(prior, len(data.columns))
        probabilities = _pattern_probabilities(prior, patterns, name, dims[1], data)
    return JointMarkerEffects(name, probabilities, patterns, covariance, dims=dims)


def _pattern_probabilities(
    prior: JointBayesC, patterns: np.ndarray, name: str, column_dim: str, data: EffectData
) -> Any:
    if prior.trait_inclusion is not None:
        inclusion = create(prior.trait_inclusion, f"{name}_inclusion", (column_dim,))
        return pt.prod(pt.where(patterns, inclusion, 1.0 - inclusion), axis=1)
    dim, columns = f"{name}_pattern", np.asarray(data.columns)
    labels = ["+".join(columns[own]) or "none" for own in patterns]
    pm.modelcontext(None).add_coord(dim, labels)
    return create(prior.pattern_probabilities, f"{name}_pattern_probabilities", (dim,))


def create_smooth_effects(
    name: str, prior: Any, dims: tuple[str, str], data: EffectData, residual: Any
) -> Any:
    """Marker effects that NUTS can draw: normal with the slab variance, no spike.

    Parameters as in `create_effects`; effects that a mask leaves out are zero.

    Raises
    ------
    InputError
        The prior has a spike or several normals.
    """
    if not isinstance(prior, MarkerPrior) or isinstance(prior, GBLUP) or prior.inclusion != 1.0:
        raise InputError(
            f"The effects {name!r} are of a node without residual, which NUTS fits: their prior "
            f"must be without a spike, such as RRBLUP() or Horseshoe(), not {prior!r}."
        )
    _, slab_variance = _parameters(prior, _Scope(name, *dims, data, residual))
    rows, columns = np.nonzero(np.ones(data.shape, bool) if data.mask is None else data.mask)
    sd = pt.sqrt(pt.broadcast_to(slab_variance[..., 0], data.shape)[rows, columns])
    dim = f"{name}_connection"
    labels = [
        f"{m}:{c}"
        for m, c in zip(
            np.asarray(data.markers)[rows], np.asarray(data.columns)[columns], strict=True
        )
    ]
    pm.modelcontext(None).add_coord(dim, labels)
    connected = pm.Normal(f"{name}_connected", 0.0, sd, dims=dim)
    effects = pt.set_subtensor(pt.zeros(data.shape)[rows, columns], connected)
    return pm.Deterministic(name, effects, dims=dims)


@singledispatch
def _parameters(prior: Any, scope: _Scope) -> tuple[Any, Any]:
    """Inclusion probability and slab variance, (1 or marker, 1 or column, class)."""
    raise InputError(f"The prior of {scope.name!r} is {prior!r}; give one of marker effects.")


@_parameters.register(JointPrior)
def _(prior: JointPrior, scope: _Scope) -> tuple[Any, Any]:
    raise InputError(
        f"The prior of {scope.name!r} has {prior!r} for a part of its effects; it is for the "
        "effects of all markers on all traits of an equation."
    )


@_parameters.register(MarkerPrior)
def _(prior: MarkerPrior, scope: _Scope) -> tuple[Any, Any]:
    if not prior.classes:
        inclusion = scope.hyper(prior.inclusion, "inclusion")
        return inclusion[..., None], scope.hyper(prior.slab_variance, "slab_variance")[..., None]
    parts = ((prior.inclusion, "inclusion"), (prior.slab_variance, "slab_variance"))
    inclusion, slab = (
        scope.spread(create(value, f"{scope.name}_{suffix}", scope.dims), 1)
        for value, suffix in parts
    )
    return inclusion, slab


@_parameters.register(BayesA)
def _(prior: BayesA, scope: _Scope) -> tuple[Any, Any]:
    inclusion = scope.hyper(prior.inclusion, "inclusion")[..., None]
    if prior.slab_variance is not None:
        return inclusion, scope.hyper(prior.slab_variance, "slab_variance", own=True)[..., None]
    df, scale = scope.hyper(prior.df, "df"), scope.hyper(prior.scale, "scale")
    # Variances relative to the scale: those of excluded markers say nothing about it.
    unit = Prior("InverseGamma", alpha=0.5 * df, beta=0.5 * df)
    return inclusion, (scale * scope.hyper(unit, "relative_variance", own=True))[..., None]


@_parameters.register(BayesL)
def _(prior: BayesL, scope: _Scope) -> tuple[Any, Any]:
    rate = 0.5 * scope.hyper(prior.lambda_squared, "lambda_squared")
    tau = scope.hyper(Prior("Exponential", lam=rate), "tau_squared", own=True)
    return pt.ones((1, 1, 1)), (scope.residual * tau)[..., None]


@_parameters.register(BayesR)
def _(prior: BayesR, scope: _Scope) -> tuple[Any, Any]:
    dim = f"{scope.name}_class"
    relative = np.array(prior.class_variances)
    pm.modelcontext(None).add_coord(dim, [0.0, *prior.class_variances])
    name = f"{scope.name}_class_probabilities"
    probabilities = scope.spread(
        create(prior.class_probabilities, name, (*scope.dims, dim)), n_classes=1
    )
    slab_variance = scope.hyper(prior.slab_variance, "slab_variance")
    return probabilities[..., 1:], slab_variance[..., None] * relative


@_parameters.register(Horseshoe)
def _(prior: Horseshoe, scope: _Scope) -> tuple[Any, Any]:
    tau = scope.hyper(prior.global_scale, "global_scale")
    slab = scope.hyper(prior.slab_variance, "slab_variance")
    local = scope.hyper(Prior("HalfCauchy", beta=1.0), "local_scale", own=True)
    wide = tau**2 * local**2
    return pt.ones((1, 1, 1)), (slab * wide / (slab + wide))[..., None]


@_parameters.register(Mapping)
def _(prior: Mapping, scope: _Scope) -> tuple[Any, Any]:
    groups = column_groups(prior, scope.data.columns, scope.name)
    parts = [_parameters(p, scope.take(columns, label)) for label, columns, p in groups]
    sizes = [len(columns) for _, columns, _ in groups]
    order = np.argsort(np.concatenate([columns for _, columns, _ in groups]))
    return _joined(parts, sizes, order, axis=1)


@_parameters.register(MarkerGroups)
def _(prior: MarkerGroups, scope: _Scope) -> tuple[Any, Any]:
    labels, group = group_index(prior, scope.data.markers, scope.data.info, scope.name)
    if isinstance(prior.priors, MarkerPrior):
        dim = f"{scope.name}_group"
        pm.modelcontext(None).add_coord(dim, labels)
        return _parameters(prior.priors, replace(scope, group_dim=dim, group=group))
    groups = group_priors(prior, labels, group, scope.name)
    parts = [_parameters(p, scope.take_markers(markers, label)) for label, markers, p in groups]
    sizes = [len(markers) for _, markers, _ in groups]
    order = np.argsort(np.concatenate([markers for _, markers, _ in groups]))
    return _joined(parts, sizes, order, axis=0)


def _joined(
    parts: list[tuple[Any, Any]], sizes: list[int], order: np.ndarray, axis: int
) -> tuple[Any, Any]:
    """Parameters of several priors side by side, in the order of their columns or markers.

    A prior with fewer normals than another gets more, of probability zero.
    """
    joined = []
    n_classes = max(int(w.shape[-1].eval(mode="FAST_COMPILE")) for pair in parts for w in pair)
    for which, filler in ((0, 0.0), (1, 1.0)):
        blocks = []
        lengths = {p[which].type.shape[1 - axis] for p in parts}
        other = 1 if lengths == {1} else pt.max([p[which].shape[1 - axis] for p in parts])
        for pair, size in zip(parts, sizes, strict=True):
            value = pair[which]
            shape = [size, other] if axis == 0 else [other, size]
            # One variance for all normals of one prior may stand beside three of another.
            value = pt.broadcast_to(value, (*shape, pair[0].shape[-1]))
            lacking = n_classes - pair[0].shape[-1]
            padding = pt.full((*shape, lacking), filler)
            blocks.append(pt.concatenate([value, padding], axis=-1))
        whole = pt.concatenate(blocks, axis=axis)
        joined.append(pt.take(whole, order, axis=axis))
    return pt.specify_shape(joined[0], (None, None, n_classes)), pt.specify_shape(
        joined[1], (None, None, n_classes)
    )

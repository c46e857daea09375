"""The prior of every term of a node: the user's, or a default scaled from the data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pymc as pm
from scipy.special import ndtri

from nnmm_pymc.activations import NUMPY_ACTIVATIONS
from nnmm_pymc.alphabet import RRBLUP, MarkerPrior
from nnmm_pymc.data import MISSING, Genotypes
from nnmm_pymc.defaults import EffectData, complete, complete_covariance, variance_prior
from nnmm_pymc.edges import FunctionEdge, MarkerEdge, Node, ParentEdge, RandomEdge, node_called
from nnmm_pymc.errors import InputError
from nnmm_pymc.families import COUNTS, THRESHOLD, liability_scale
from nnmm_pymc.formula import SHAPES
from nnmm_pymc.functions import NodeFunction
from nnmm_pymc.prior_groups import MarkerGroups
from nnmm_pymc.priors import CovariancePrior, Prior

__all__ = [
    "column_scale",
    "is_covariance",
    "is_deterministic",
    "is_selection",
    "marker_data",
    "node_function",
    "node_priors",
    "weight_data",
]


#: Of 1,000 equally likely intervals of a standard normal, their middles; the sd is made one.
STANDARD_NORMAL = ndtri((np.arange(1000) + 0.5) / 1000)
STANDARD_NORMAL /= STANDARD_NORMAL.std()


def node_priors(node: Node, nodes: list[Node]) -> dict[str, Any]:
    """The prior of every term of a node: the user's, or a default scaled from the data.

    With V the observed variance of a column (1 where nothing is observed):

    - Intercept: Normal at the mean of the column with sd
      ``2.5 sqrt(V) sqrt(1 + sum (mean(g) / sd(g))^2)`` over the parents, as in Bambi;
    - weights of a function of your own: the same, over draws of what it is a function of;
    - covariates: Normal(0, 2.5 sqrt(V) / sd(x));
    - weights of a parent: Normal(0, sqrt(V) / sd(g)), so that one parent alone may explain all;
    - latent nodes: V = 1, residual variance fixed at 1/2, intercept Normal(0, 1), or 0 where they
      act linearly and the intercepts of their children say the same;
    - residual variance: InverseGamma(df/2, (df - 2) V/4), df = 5: mean V/2, the other half of V
      being left to the genetic terms and parents;
    - covariance of correlated residuals: HalfTCovariance, df = 2, with scales sqrt(V/2);
    - variance of random effects: Gamma(1/2, 1/V), the square of a half-normal standard deviation,
      with mean V/2 (a small variance is not excluded, as an inverse gamma would); V over the mean
      square of its covariate for a random slope;
    - degrees of freedom of a t: 2 + Gamma(2, 0.1), mean 22; dispersion of counts: Exponential(1);
    - marker effects, and weights with a prior of marker effects: see `MarkerPrior`.
    """
    given = _given(node)
    centre, scale = column_scale(node)
    variance = scale**2
    priors: dict[str, Any] = {}
    stretch = np.ones(len(node.columns))
    for link in node.parents:
        parent = node_called(nodes, link.node)
        mean_g, sd_g = _activated_moments(link, parent)
        stretch = stretch + np.sum((mean_g / sd_g) ** 2)
        sigma = scale[None, :] / sd_g[:, None]
        prior = given.get(link.label, Prior("Normal", mu=0.0, sigma=sigma))
        if is_selection(prior):
            prior = _completed(prior, weight_data(link, node, parent), node)
        priors[link.label] = prior
    for call in node.functions:
        sd_f = _function_scale(call, nodes)
        default = Prior("Normal", mu=0.0, sigma=scale[None, :] / sd_f[:, None])
        priors[call.label] = given.get(call.label, default)
    for covariate in node.covariates:
        sd_x = np.maximum(covariate.design.std(axis=0), 1e-12)
        sigma = 2.5 * scale[None, :] / sd_x[:, None]
        priors[covariate.label] = given.get(covariate.label, Prior("Normal", mu=0.0, sigma=sigma))
        stretch = stretch + np.sum((covariate.design.mean(axis=0) / sd_x) ** 2)
    priors["Intercept"] = given.get(
        "Intercept", Prior("Normal", mu=centre, sigma=2.5 * scale * np.sqrt(stretch))
    )
    if node.hidden:
        # Its scale is a convention: what matters is the genetic share of it.
        centred: Any = 0.0 if _acts_linearly(node, nodes) else Prior("Normal", mu=0.0, sigma=1.0)
        priors["Intercept"] = given.get("Intercept", centred)
        priors["residual_variance"] = given.get("residual_variance", 0.5 * variance)
    elif node.equation.family in THRESHOLD:
        priors["residual_variance"] = 1.0
    elif node.equation.residual == "correlated":
        own = given.get("residual_covariance")
        priors["residual_covariance"] = complete_covariance(own, 0.5 * variance)
    else:
        default = variance_prior(0.5 * variance)
        priors["residual_variance"] = given.get("residual_variance", default)
    shape = SHAPES.get(node.equation.family)
    if shape is not None:
        priors[shape] = given.get(shape, _SHAPE_PRIORS[shape])
    for random in node.random:
        rate = max(random.mean_square, 1e-12) / variance
        default = Prior("Gamma", alpha=0.5, beta=rate)
        priors[random.label] = _of_variance(given.get(random.label, default), random, node)
    for edge in node.markers:
        prior = given.get(edge.label, RRBLUP())
        priors[edge.label] = _completed(prior, marker_data(edge, node), node)
    _check_variances(priors, node)
    return priors


def _df(name: str, dims: tuple[str, ...]) -> Any:
    return 2.0 + pm.Gamma(f"{name}_excess", alpha=2.0, beta=0.1, dims=dims)


_SHAPE_PRIORS = {"df": _df, "dispersion": Prior("Exponential", lam=1.0)}


def _of_variance(prior: Any, edge: RandomEdge, node: Node) -> Any:
    if is_selection(prior):
        raise InputError(
            f"Equation {node.equation.formula!r}: the prior of the random effects {edge.label!r} "
            f"is {prior!r}; give one of their variance, such as Prior('HalfNormal', sigma=1)."
        )
    if is_covariance(prior):
        if not edge.genetic or len(node.columns) < 2:
            raise InputError(
                f"Equation {node.equation.formula!r}: the prior of {edge.label!r} is of a "
                "covariance matrix, which the effects of individuals themselves (of a pedigree or "
                "precision matrix) on several traits have; give one of a variance."
            )
        return complete_covariance(prior, 0.5 * column_scale(node)[1] ** 2)
    return prior


def _check_variances(priors: dict[str, Any], node: Node) -> None:
    """Refuse numbers that are no variances."""
    for label in ("residual_variance", *(edge.label for edge in node.random)):
        value = priors.get(label)
        if isinstance(value, int | float | list | tuple | np.ndarray) and np.ndim(value) < 2:
            least = np.min(np.asarray(value, float), initial=np.inf)
            if not (least > 0 or (least == 0 and label == "residual_variance")):
                raise InputError(
                    f"Equation {node.equation.formula!r}: the variance {label!r} is {least:g}; it "
                    "must be above zero."
                )


def node_function(edge: FunctionEdge) -> NodeFunction:
    """The function of an edge, ready to be traced and evaluated."""
    return NodeFunction(edge.name, edge.function, tuple(2 if m else 1 for *_, m in edge.arguments))


def _function_scale(edge: FunctionEdge, nodes: list[Node]) -> np.ndarray:
    """Standard deviations of the outputs over normal draws of the arguments."""
    rng = np.random.default_rng(0)
    arguments = []
    for name, columns, matrix in edge.arguments:
        parent = node_called(nodes, name)
        which = [parent.columns.index(c) for c in columns]
        centre, scale = column_scale(parent)
        z = centre[which] + scale[which] * rng.normal(size=(1000, len(which)))
        arguments.append(z if matrix else z[:, 0])
    return node_function(edge).scale(arguments)


def _acts_linearly(node: Node, nodes: list[Node]) -> bool:
    links = [link for child in nodes for link in child.parents if link.node == node.name]
    called = {name for child in nodes for call in child.functions for name, *_ in call.arguments}
    return node.name not in called and all(link.activation == "identity" for link in links)


def _completed(prior: Any, data: EffectData, node: Node) -> Any:
    try:
        return complete(prior, data)
    except InputError as error:
        raise InputError(f"Equation {node.equation.formula!r}: {error}") from None


def _given(node: Node) -> dict[str, Any]:
    """User's priors by label; a term may also be named by the one layer or column in it."""
    given = dict(node.equation.priors)
    for term in node.equation.terms:
        for name in term.names:
            if name in given and len(term.names) == 1:
                given.setdefault(term.label, given[name])
    return given


def is_selection(prior: Any) -> bool:
    """Whether a prior is one of marker effects, as weights may have too."""
    return isinstance(prior, MarkerPrior | MarkerGroups | Mapping)


def is_covariance(prior: Any) -> bool:
    """Whether a prior of random effects is of a covariance matrix of the traits, or one."""
    return isinstance(prior, CovariancePrior) or np.ndim(prior) == 2


def is_deterministic(node: Node, priors: Mapping[str, Any]) -> bool:
    """Whether a node has no residual: a latent node whose residual variance is given as zero."""
    variance = priors.get("residual_variance")
    zero = isinstance(variance, int | float | np.ndarray) and not np.any(variance)
    if zero and not node.hidden:
        raise InputError(
            f"Equation {node.equation.formula!r}: a residual variance of zero needs latent nodes, "
            "but its left side has observed values."
        )
    return zero


def marker_data(edge: MarkerEdge, node: Node) -> EffectData:
    """What the prior of marker effects is derived from."""
    return EffectData(
        edge.genotypes.markers,
        node.columns,
        _variances(edge.genotypes),
        edge.mask,
        column_scale(node)[1] ** 2,
        0.5 / node.n_genetic_terms,
        len(node.observed),
        edge.genotypes.info,
    )


def weight_data(link: ParentEdge, node: Node, parent: Node) -> EffectData:
    """What the prior of weights is derived from, where they have one of marker effects."""
    _, sd_g = _activated_moments(link, parent)
    return EffectData(
        link.columns,
        node.columns,
        sd_g**2,
        link.mask,
        column_scale(node)[1] ** 2,
        0.5,
        len(node.observed),
    )


def column_scale(node: Node) -> tuple[np.ndarray, np.ndarray]:
    """Observed mean and standard deviation of each column; 0 and 1 where nothing is observed.

    Of a family with liabilities, those of the liabilities (`liability_scale`).
    """
    if node.equation.family in (*THRESHOLD, *COUNTS):
        return liability_scale(node)
    count = (~np.isnan(node.observed)).sum(axis=0)
    centre = np.where(count > 0, np.nansum(node.observed, axis=0) / np.maximum(count, 1), 0.0)
    square = np.nansum((node.observed - centre) ** 2, axis=0) / np.maximum(count - 1, 1)
    return centre, np.where(square > 0, np.sqrt(square), 1.0)


def _activated_moments(edge: ParentEdge, parent: Node) -> tuple[np.ndarray, np.ndarray]:
    """Mean and sd of the activated columns over the individuals in which they were observed.

    A column that nobody observed is standard normal, so that the latent nodes of a layer have the
    same priors and may change places.
    """
    centre, scale = column_scale(parent)
    means, sds = [], []
    for c in edge.columns:
        k = parent.columns.index(c)
        z = parent.observed[:, k][~np.isnan(parent.observed[:, k])]
        z = z if len(z) > 1 else STANDARD_NORMAL
        z = (z - centre[k]) / scale[k] if edge.scaled else z
        g = NUMPY_ACTIVATIONS[edge.activation](z)
        spread = g.std()
        means.append(g.mean() if spread > 0 else 0.0)
        sds.append(spread if spread > 0 else 1.0)
    return np.array(means), np.array(sds)


def _variances(genotypes: Genotypes) -> np.ndarray:
    """Variance of each marker about its centre, missing calls imputed by it."""
    out, n_called = np.empty(genotypes.p), max(1, genotypes.n_called)
    for start in range(0, genotypes.p, 256):
        block = genotypes.dosages[start : start + 256].astype(np.float32)
        block -= genotypes.mean[start : start + 256, None].astype(np.float32)
        if genotypes.dosages.dtype == np.int8:
            block[genotypes.dosages[start : start + 256] == MISSING] = 0.0
        out[start : start + 256] = np.einsum("ij,ij->i", block, block) / n_called
    return out

"""Nodes to a `pymc.Model`: the only module that opens one.

For the node "omics" with markers "geno" the model has the variables ``omics_Intercept``,
``omics_geno`` (marker effects), ``omics_geno_inclusion``, ``omics_geno_slab_variance``,
``omics_geno_value`` (genetic values), ``omics_residual_variance``, ``omics_missing`` (the cells
that are unknowns), ``omics_observed``, and ``omics``, the two set together. A node that is complete
or that nothing depends on has one likelihood under its own name.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pymc as pm
import pytensor
import pytensor.tensor as pt

from nnmm_pymc.activations import NUMPY_ACTIVATIONS, pytensor_activation
from nnmm_pymc.data import MISSING, Genotypes
from nnmm_pymc.distributions import MarkerEffects, genetic_value
from nnmm_pymc.errors import InputError
from nnmm_pymc.nodes import MarkerEdge, Node, ParentEdge
from nnmm_pymc.priors import RRBLUP, BayesL, MarkerPrior, Prior
from nnmm_pymc.steps.fused import Side, StandardNetwork, register_network
from nnmm_pymc.variables import create

__all__ = ["build_model", "column_scale", "default_priors", "edge_name"]

#: Degrees of freedom of the scaled inverse chi-square priors of variances.
VARIANCE_DF = 5.0


def build_model(nodes: list[Node], individuals: pd.Index) -> pm.Model:
    """Assemble the PyMC model of a network.

    Parameters
    ----------
    nodes : list of Node
        From `nnmm_pymc.nodes.resolve`, parents before children.
    individuals : pandas.Index

    Returns
    -------
    pymc.Model
        With dims ``individual``, ``marker``, ``omic``, ``trait`` (prefixed by the layer's name
        where there are several of a kind).
    """
    with pm.Model(coords=_coords(nodes, individuals)) as model:
        values: dict[str, Any] = {}
        for node in nodes:
            values[node.name] = _node(node, nodes, values, individuals)
    network = _standard_network(nodes)
    if network is not None:
        register_network(model, network)
    return model


def _standard_network(nodes: list[Node]) -> StandardNetwork | None:
    """One omics layer with missing cells acting on traits, if that is what the nodes are."""
    if len(nodes) != 2:
        return None
    middle, terminal = nodes
    if len(terminal.parents) != 1 or not middle.latent.any() or middle.parents:
        return None
    edge = terminal.parents[0]
    if edge.columns != middle.columns:
        return None
    centre, scale = column_scale(middle)
    shape = (len(middle.columns), len(terminal.columns))
    return StandardNetwork(
        middle=_side(middle),
        terminal=_side(terminal),
        missing=f"{middle.name}_missing",
        latent=middle.latent,
        weights=f"{terminal.name}_{edge_name(terminal, edge)}",
        weight_mask=np.ones(shape) if edge.mask is None else edge.mask.astype(float),
        activation=edge.activation,
        centre=centre if edge.scaled else np.zeros(shape[0]),
        scale=scale if edge.scaled else np.ones(shape[0]),
    )


def _side(node: Node) -> Side:
    coefficients = {}
    if node.equation.intercept:
        coefficients[f"{node.name}_Intercept"] = np.ones((len(node.observed), 1))
    for covariate in node.covariates:
        coefficients[f"{node.name}_{covariate.label}"] = covariate.design
    return Side(
        observed=node.observed,
        coefficients=coefficients,
        genetic_values=[f"{node.name}_{e.label}_value" for e in node.markers],
        variance=f"{node.name}_residual_variance",
    )


def _coords(nodes: list[Node], individuals: pd.Index) -> dict[str, list[str]]:
    coords = {"individual": list(individuals)}
    for node in nodes:
        coords[node.dim] = list(node.columns)
        for edge in node.markers:
            coords[edge.dim] = list(edge.genotypes.markers)
        for covariate in node.covariates:
            coords[_level_dim(node, covariate.label)] = list(covariate.levels)
        for link in node.parents:
            parent = next(n for n in nodes if n.name == link.node)
            coords[_parent_dim(node, link, parent)] = list(link.columns)
    return coords


def _level_dim(node: Node, label: str) -> str:
    return f"{node.name}_{label}_level"


def _parent_dim(node: Node, edge: ParentEdge, parent: Node) -> str:
    whole = edge.columns == parent.columns
    return parent.dim if whole else f"{node.name}_{edge.label}_parent"


def _node(node: Node, nodes: list[Node], values: dict[str, Any], individuals: pd.Index) -> Any:
    """Add one node; returns the (individual, column) values its children see."""
    priors = default_priors(node, nodes)
    mean: Any = pt.zeros((len(individuals), len(node.columns)))
    if node.equation.intercept:
        mean = mean + _parameter(priors["Intercept"], f"{node.name}_Intercept", (node.dim,))
    for covariate in node.covariates:
        dims = (_level_dim(node, covariate.label), node.dim)
        effects = _parameter(priors[covariate.label], f"{node.name}_{covariate.label}", dims)
        effects = effects + np.zeros((covariate.design.shape[1], len(node.columns)))
        mean = mean + pytensor.shared(covariate.design) @ effects
    name = f"{node.name}_residual_variance"
    variance = _parameter(priors["residual_variance"], name, (node.dim,))
    for edge in node.markers:
        mean = mean + _genetic_value(node, edge, priors[edge.label], variance)
    for link in node.parents:
        parent = next(n for n in nodes if n.name == link.node)
        mean = mean + _weighted(node, link, parent, values[link.node], priors[link.label])
    return _likelihood(node, mean, variance, individuals)


def _parameter(prior: Any, name: str, dims: tuple[str, ...]) -> Any:
    """A variable called `name` whatever the prior is: predictions look it up in the result."""
    value = create(prior, name, dims)
    model = pm.modelcontext(None)
    if name in model.named_vars:
        return value
    shape = [len(model.coords[dim]) for dim in dims]
    return pm.Deterministic(name, value + np.zeros(shape), dims=dims)


def _genetic_value(node: Node, edge: MarkerEdge, prior: MarkerPrior, residual: Any) -> Any:
    name = f"{node.name}_{edge.label}"
    inclusion = create(prior.inclusion, f"{name}_inclusion", (node.dim,))
    if isinstance(prior, BayesL):
        rate = create(prior.lambda_squared, f"{name}_lambda_squared", (node.dim,)) / 2.0
        tau = Prior("Exponential", lam=rate)
        slab_variance = residual * create(tau, f"{name}_tau_squared", (edge.dim, node.dim))
    else:
        dims = (edge.dim, node.dim) if prior.own_variances else (node.dim,)
        slab_variance = create(prior.slab_variance, f"{name}_slab_variance", dims)
    if edge.mask is not None:
        inclusion = inclusion * edge.mask.astype(float)
    effects = MarkerEffects(
        name, inclusion=inclusion, slab_variance=slab_variance, dims=(edge.dim, node.dim)
    )
    return pm.Deterministic(
        f"{name}_value", genetic_value(edge.genotypes, effects), dims=("individual", node.dim)
    )


def _weighted(node: Node, edge: ParentEdge, parent: Node, values: Any, prior: Any) -> Any:
    """Weights times the activation of the parent's values."""
    columns = [parent.columns.index(c) for c in edge.columns]
    if len(columns) < len(parent.columns):
        values = values[:, columns]
    if edge.scaled:
        centre, scale = column_scale(parent)
        values = (values - centre[columns]) / scale[columns]
    activated = pytensor_activation(edge.activation)(values)
    dims = (_parent_dim(node, edge, parent), node.dim)
    weights = _parameter(prior, f"{node.name}_{edge_name(node, edge)}", dims)
    weights = weights + np.zeros((len(columns), len(node.columns)))
    if edge.mask is not None:
        weights = weights * edge.mask.astype(float)
    return activated @ weights


def edge_name(node: Node, edge: ParentEdge) -> str:
    """The parent's name; the label too where two terms have the same parent."""
    same = [e for e in node.parents if e.node == edge.node]
    return edge.node if len(same) == 1 else edge.label


def column_scale(node: Node) -> tuple[np.ndarray, np.ndarray]:
    """Observed mean and standard deviation of each column; 0 and 1 where nothing is observed."""
    with np.errstate(all="ignore"):
        count = (~np.isnan(node.observed)).sum(axis=0)
        centre = np.where(count > 0, np.nansum(node.observed, axis=0) / np.maximum(count, 1), 0.0)
        square = np.nansum((node.observed - centre) ** 2, axis=0) / np.maximum(count - 1, 1)
    return centre, np.where(square > 0, np.sqrt(square), 1.0)


def _likelihood(node: Node, mean: Any, variance: Any, individuals: pd.Index) -> Any:
    sd = pt.sqrt(variance) * np.ones(len(node.columns))
    present = ~np.isnan(node.observed)
    if present.all():
        pm.Normal(node.name, mean, sd, observed=node.observed, dims=("individual", node.dim))
        return pt.as_tensor(pytensor.shared(node.observed, f"{node.name}_data"))
    seen = _cell_variable(
        f"{node.name}_observed", node, mean, sd, present, individuals, node.observed[present]
    )
    if node.terminal:
        return seen
    filled = np.where(present, node.observed, 0.0)
    values = pt.as_tensor(pytensor.shared(filled, f"{node.name}_data"))
    if node.latent.any():
        missing = _cell_variable(
            f"{node.name}_missing", node, mean, sd, node.latent, individuals, None
        )
        rows, columns = np.nonzero(node.latent)
        values = pt.set_subtensor(values[rows, columns], missing)
    return pm.Deterministic(node.name, values, dims=("individual", node.dim))


def _cell_variable(
    name: str,
    node: Node,
    mean: Any,
    sd: Any,
    cells: np.ndarray,
    individuals: pd.Index,
    observed: np.ndarray | None,
) -> Any:
    """Normal variable of some cells, individual by individual; their labels are its coordinate."""
    rows, columns = np.nonzero(cells)
    single = len(node.columns) == 1
    labels = [
        individuals[r] if single else f"{individuals[r]}:{node.columns[c]}"
        for r, c in zip(rows, columns, strict=True)
    ]
    dim = f"{name}_cell"
    pm.modelcontext(None).add_coord(dim, labels)
    whole_rows = np.array_equal(
        cells, np.repeat(cells.any(axis=1), cells.shape[1]).reshape(cells.shape)
    )
    if whole_rows:
        kept = np.flatnonzero(cells.any(axis=1))
        cell_mean = mean[kept].ravel()
        cell_sd = pt.broadcast_to(sd, (len(kept), cells.shape[1])).ravel()
    else:
        cell_mean, cell_sd = mean[rows, columns], sd[columns]
    return pm.Normal(name, cell_mean, cell_sd, observed=observed, dims=dim)


def default_priors(node: Node, nodes: list[Node]) -> dict[str, Any]:
    """The prior of every term of a node: the user's, or a default scaled from the data.

    With V the observed variance of a column (1 where nothing is observed):

    - Intercept: Normal at the mean of the column with sd
      ``2.5 sqrt(V) sqrt(1 + sum (mean(g) / sd(g))^2)`` over the parents, as in Bambi;
    - covariates: Normal(0, 2.5 sqrt(V) / sd(x));
    - weights of a parent: Normal(0, sqrt(V) / sd(g)), so that one parent alone may explain all;
    - residual variance: InverseGamma(df/2, (df - 2) V/4), df = 5: mean V/2, the other half of V
      being left to the genetic terms and parents;
    - slab variance: see `MarkerPrior`.
    """
    given = _given(node)
    centre, scale = column_scale(node)
    variance = scale**2
    priors: dict[str, Any] = {}
    stretch = np.ones(len(node.columns))
    for link in node.parents:
        parent = next(n for n in nodes if n.name == link.node)
        mean_g, sd_g = _activated_moments(link, parent)
        stretch = stretch + np.sum((mean_g / sd_g) ** 2)
        sigma = scale[None, :] / sd_g[:, None]
        priors[link.label] = given.get(link.label, Prior("Normal", mu=0.0, sigma=sigma))
    for covariate in node.covariates:
        sd_x = np.maximum(covariate.design.std(axis=0), 1e-12)
        sigma = 2.5 * scale[None, :] / sd_x[:, None]
        priors[covariate.label] = given.get(covariate.label, Prior("Normal", mu=0.0, sigma=sigma))
        stretch = stretch + np.sum((covariate.design.mean(axis=0) / sd_x) ** 2)
    priors["Intercept"] = given.get(
        "Intercept", Prior("Normal", mu=centre, sigma=2.5 * scale * np.sqrt(stretch))
    )
    priors["residual_variance"] = given.get("residual_variance", variance_prior(0.5 * variance))
    for edge in node.markers:
        prior = given.get(edge.label, RRBLUP())
        priors[edge.label] = _complete(prior, edge, node, variance)
    return priors


def _given(node: Node) -> dict[str, Any]:
    """User's priors by label; a term may also be named by the one layer or column in it."""
    given = dict(node.equation.priors)
    for term in node.equation.terms:
        for name in term.names:
            if name in given and len(term.names) == 1:
                given.setdefault(term.label, given[name])
    return given


def variance_prior(mean: np.ndarray) -> Prior:
    """Scaled inverse chi-square with 5 degrees of freedom and this mean, as an InverseGamma."""
    return Prior("InverseGamma", alpha=VARIANCE_DF / 2, beta=mean * (VARIANCE_DF - 2) / 2)


def _activated_moments(edge: ParentEdge, parent: Node) -> tuple[np.ndarray, np.ndarray]:
    """Mean and sd of the activated columns over the individuals in which they were observed."""
    centre, scale = column_scale(parent)
    rng = np.random.default_rng(0)
    means, sds = [], []
    for c in edge.columns:
        k = parent.columns.index(c)
        z = parent.observed[:, k][~np.isnan(parent.observed[:, k])]
        z = z if len(z) > 1 else rng.normal(size=1000)
        z = (z - centre[k]) / scale[k] if edge.scaled else z
        g = NUMPY_ACTIVATIONS[edge.activation](z)
        spread = g.std()
        means.append(g.mean() if spread > 0 else 0.0)
        sds.append(spread if spread > 0 else 1.0)
    return np.array(means), np.array(sds)


def _complete(prior: Any, edge: MarkerEdge, node: Node, variance: np.ndarray) -> MarkerPrior:
    """A marker prior with its missing parts derived from the data."""
    if not isinstance(prior, MarkerPrior):
        raise InputError(
            f"Equation {node.equation.formula!r}: the prior of markers {edge.label!r} is "
            f"{prior!r}; give one of marker effects, such as BayesC()."
        )
    inclusion = 1.0 if prior.inclusion is None else prior.inclusion
    heritability = 0.5 / node.n_genetic_terms
    if isinstance(prior, BayesL):
        if prior.lambda_squared is not None:
            return prior
        mode = 2.0 * (1.0 - heritability) / heritability * _total_variance(edge)
        return BayesL(Prior("Gamma", alpha=1.1, beta=0.1 / mode))
    if prior.slab_variance is not None:
        return _with(prior, inclusion, prior.slab_variance)
    slab_variance = variance_prior(
        heritability * variance / (_prior_mean(inclusion) * _total_variance(edge))
    )
    return _with(prior, inclusion, slab_variance)


def _with(prior: MarkerPrior, inclusion: Any, slab_variance: Any) -> MarkerPrior:
    """The prior with both parts given; its class tells whose variance the second is."""
    complete = replace(prior, slab_variance=slab_variance)
    return complete if prior.inclusion is not None else replace(complete, inclusion=inclusion)


def _prior_mean(inclusion: Any) -> float:
    """Prior mean of an inclusion probability; one half where it cannot be told."""
    if isinstance(inclusion, int | float):
        return max(float(inclusion), 1e-12)
    if isinstance(inclusion, Prior) and inclusion.name == "Beta":
        a, b = inclusion.parameters.get("alpha"), inclusion.parameters.get("beta")
        if isinstance(a, int | float) and isinstance(b, int | float):
            return a / (a + b)
    return 0.5


def _total_variance(edge: MarkerEdge) -> np.ndarray:
    """Sum of the variances of the markers that may reach each column."""
    variances = _variances(edge.genotypes)
    total = variances.sum() if edge.mask is None else variances @ edge.mask
    return np.maximum(total, 1e-12)


def _variances(genotypes: Genotypes) -> np.ndarray:
    """Variance of each marker about its centre, missing calls imputed by it."""
    out = np.empty(genotypes.p)
    for start in range(0, genotypes.p, 256):
        block = genotypes.dosages[start : start + 256].astype(np.float32)
        block -= genotypes.mean[start : start + 256, None].astype(np.float32)
        if genotypes.dosages.dtype == np.int8:
            block[genotypes.dosages[start : start + 256] == MISSING] = 0.0
        out[start : start + 256] = np.einsum("ij,ij->i", block, block) / max(1, genotypes.n)
    return out

"""Nodes to a `pymc.Model`: the only module that opens one.

For the node "omics" with markers "geno" the model has the variables ``omics_Intercept``,
``omics_geno`` (marker effects), ``omics_geno_inclusion``, ``omics_geno_slab_variance``,
``omics_geno_value`` (genetic values), ``omics_residual_variance``, ``omics_missing`` (the cells
that are unknowns), ``omics_observed``, and ``omics``, the two set together. A node that is complete
or that nothing depends on has one likelihood under its own name.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pymc as pm
import pytensor
import pytensor.tensor as pt

from nnmm_pymc.activations import pytensor_activation
from nnmm_pymc.alphabet import GBLUP
from nnmm_pymc.distributions import MarkerEffects, genetic_value
from nnmm_pymc.effects import create_effects, create_smooth_effects
from nnmm_pymc.errors import InputError
from nnmm_pymc.node_priors import (
    column_scale,
    is_deterministic,
    is_selection,
    marker_data,
    node_function,
    node_priors,
    weight_data,
)
from nnmm_pymc.nodes import FunctionEdge, MarkerEdge, Node, ParentEdge, node_called
from nnmm_pymc.steps.fused import Side, StandardNetwork, register_network
from nnmm_pymc.variables import create

__all__ = ["build_model", "edge_name"]


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
    if (
        terminal.functions
        or len(terminal.parents) != 1
        or not middle.latent.any()
        or middle.parents
    ):
        return None
    edge = terminal.parents[0]
    if edge.columns != middle.columns:
        return None
    centre, scale = column_scale(middle)
    shape = (len(middle.columns), len(terminal.columns))
    return StandardNetwork(
        middle=_side(middle, nodes),
        terminal=_side(terminal, nodes),
        missing=f"{middle.name}_missing",
        latent=middle.latent,
        weights=f"{terminal.name}_{edge_name(terminal, edge)}",
        weight_mask=np.ones(shape) if edge.mask is None else edge.mask.astype(float),
        activation=edge.activation,
        centre=centre if edge.scaled else np.zeros(shape[0]),
        scale=scale if edge.scaled else np.ones(shape[0]),
    )


def _side(node: Node, nodes: list[Node]) -> Side:
    coefficients = {}
    intercept = node_priors(node, nodes)["Intercept"]
    if node.equation.intercept and not (isinstance(intercept, int | float) and intercept == 0.0):
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
            parent = node_called(nodes, link.node)
            coords[_parent_dim(node, link, parent)] = list(link.columns)
    return coords


def _level_dim(node: Node, label: str) -> str:
    return f"{node.name}_{label}_level"


def _parent_dim(node: Node, edge: ParentEdge, parent: Node) -> str:
    whole = edge.columns == parent.columns
    return parent.dim if whole else f"{node.name}_{edge.label}_parent"


def _node(node: Node, nodes: list[Node], values: dict[str, Any], individuals: pd.Index) -> Any:
    """Add one node; returns the (individual, column) values its children see."""
    priors = node_priors(node, nodes)
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
    exact = is_deterministic(node, priors)
    for edge in node.markers:
        prior = priors[edge.label]
        if exact:
            mean = mean + _smooth_genetic_value(node, edge, prior, variance)
        else:
            mean = mean + _genetic_value(node, edge, prior, variance)
    for link in node.parents:
        parent = node_called(nodes, link.node)
        mean = mean + _weighted(node, link, parent, values[link.node], priors[link.label], variance)
    for call in node.functions:
        mean = mean + _function_value(node, call, nodes, values, priors[call.label])
    if exact:
        return pm.Deterministic(node.name, mean, dims=("individual", node.dim))
    return _likelihood(node, mean, variance, individuals)


def _smooth_genetic_value(node: Node, edge: MarkerEdge, prior: Any, residual: Any) -> Any:
    """Genetic values of a node without residual: NUTS draws the effects, so none may be a spike."""
    name = f"{node.name}_{edge.label}"
    residual = residual + np.zeros(len(node.columns))
    effects = create_smooth_effects(
        name, prior, (edge.dim, node.dim), marker_data(edge, node), residual
    )
    return genetic_value(edge.genotypes, effects)


def _function_value(
    node: Node, edge: FunctionEdge, nodes: list[Node], values: dict[str, Any], prior: Any
) -> Any:
    """Weights times the outputs of a user's function."""
    arguments = []
    for name, columns, matrix in edge.arguments:
        which = [node_called(nodes, name).columns.index(c) for c in columns]
        arguments.append(values[name][:, which] if matrix else values[name][:, which[0]])
    out = node_function(edge)(arguments)
    dim = f"{node.name}_{edge.label}_output"
    width = int(out.shape[1].eval(mode="FAST_COMPILE"))
    pm.modelcontext(None).add_coord(dim, [str(k + 1) for k in range(width)])
    weights = _parameter(prior, f"{node.name}_{edge.label}", (dim, node.dim))
    return out @ (weights + np.zeros((width, len(node.columns))))


def _parameter(prior: Any, name: str, dims: tuple[str, ...]) -> Any:
    """A variable called `name` whatever the prior is: predictions look it up in the result."""
    value = create(prior, name, dims)
    model = pm.modelcontext(None)
    if name in model.named_vars:
        return value
    shape = [len(model.coords[dim]) for dim in dims]
    return pm.Deterministic(name, value + np.zeros(shape), dims=dims)


def _genetic_value(node: Node, edge: MarkerEdge, prior: Any, residual: Any) -> Any:
    name = f"{node.name}_{edge.label}"
    residual = residual + np.zeros(len(node.columns))
    if isinstance(prior, GBLUP):
        return _relationship_value(node, edge, prior, name)
    effects = create_effects(name, prior, (edge.dim, node.dim), marker_data(edge, node), residual)
    return pm.Deterministic(
        f"{name}_value", genetic_value(edge.genotypes, effects), dims=("individual", node.dim)
    )


def _relationship_value(node: Node, edge: MarkerEdge, prior: GBLUP, name: str) -> Any:
    """Genetic values from effects of the eigenvectors of the relationship matrix."""
    if edge.mask is not None:
        raise InputError(
            f"Equation {node.equation.formula!r}: GBLUP of {edge.label!r} cannot have connections; "
            "RRBLUP is the same model and can."
        )
    own = edge.relationship
    eigenvectors = edge.genotypes if own is None else own.eigenvectors
    dim = edge.dim if own is None else f"{name}_eigenvector"
    pm.modelcontext(None).add_coord(dim, list(eigenvectors.markers))
    variance = _parameter(prior.genetic_variance, f"{name}_genetic_variance", (node.dim,))
    effects = MarkerEffects(name, slab_variance=variance, dims=(dim, node.dim))
    return pm.Deterministic(
        f"{name}_value", genetic_value(eigenvectors, effects), dims=("individual", node.dim)
    )


def _weighted(
    node: Node, edge: ParentEdge, parent: Node, values: Any, prior: Any, residual: Any
) -> Any:
    """Weights times the activation of the parent's values."""
    columns = [parent.columns.index(c) for c in edge.columns]
    if len(columns) < len(parent.columns):
        values = values[:, columns]
    if edge.scaled:
        centre, scale = column_scale(parent)
        values = (values - centre[columns]) / scale[columns]
    activated = pytensor_activation(edge.activation)(values)
    dims = (_parent_dim(node, edge, parent), node.dim)
    name = f"{node.name}_{edge_name(node, edge)}"
    if is_selection(prior):
        weights = create_effects(name, prior, dims, weight_data(edge, node, parent), residual)
        return activated @ weights
    weights = _parameter(prior, name, dims)
    weights = weights + np.zeros((len(columns), len(node.columns)))
    if edge.mask is not None:
        weights = weights * edge.mask.astype(float)
    return activated @ weights


def edge_name(node: Node, edge: ParentEdge) -> str:
    """The parent's name; the label too where two terms have the same parent."""
    same = [e for e in node.parents if e.node == edge.node]
    return edge.node if len(same) == 1 else edge.label


def _likelihood(node: Node, mean: Any, variance: Any, individuals: pd.Index) -> Any:
    sd = pt.sqrt(variance) * np.ones(len(node.columns))
    present = ~np.isnan(node.observed)
    if present.all():
        dims = ("individual", node.dim)
        return pm.Normal(node.name, mean, sd, observed=node.observed, dims=dims)
    values = pt.zeros(present.shape)
    if present.any():
        seen = _cell_variable(
            f"{node.name}_observed", node, mean, sd, present, individuals, node.observed[present]
        )
        # Of the observed cells the random variable, not its data: prior draws go through.
        values = pt.set_subtensor(values[np.nonzero(present)], seen)
    if node.terminal:
        return values
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

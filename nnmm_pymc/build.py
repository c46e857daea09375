"""Nodes to a `pymc.Model`: the only module that opens one.

For the node "omics" with markers "geno" the model has the variables ``omics_Intercept``,
``omics_geno`` (marker effects), ``omics_geno_inclusion``, ``omics_geno_slab_variance``,
``omics_geno_value`` (genetic values), ``omics_residual_variance``, ``omics_missing`` (the cells
that are unknowns), ``omics_observed``, and ``omics``, the two set together. Random effects
``omics_1|herd`` have a variance ``omics_1|herd_variance`` and add ``omics_1|herd_value``. A node
that is complete or that nothing depends on has one likelihood under its own name.
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
from nnmm_pymc.data import Genotypes
from nnmm_pymc.data.weighted import scaled_rows
from nnmm_pymc.distributions import MarkerEffects, genetic_value
from nnmm_pymc.edges import FunctionEdge, MarkerEdge, Node, ParentEdge, RandomEdge, node_called
from nnmm_pymc.effects import create_effects, create_joint_effects, create_smooth_effects
from nnmm_pymc.errors import InputError
from nnmm_pymc.formula import SHAPES
from nnmm_pymc.joint_priors import JointPrior
from nnmm_pymc.joint_random_effects import JointRandomEffects
from nnmm_pymc.likelihood import add_likelihood
from nnmm_pymc.node_priors import (
    column_scale,
    is_covariance,
    is_deterministic,
    is_selection,
    marker_data,
    node_function,
    node_priors,
    weight_data,
)
from nnmm_pymc.random_effects import RandomEffects, level_value
from nnmm_pymc.record_rows import owner_weights
from nnmm_pymc.steps.standard_network import Side, StandardNetwork, register_network
from nnmm_pymc.variables import check_shape, create, create_covariance

__all__ = ["build_model", "edge_name", "parent_dim"]


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
        or terminal.records is not None
        or any(node.weights is not None for node in nodes)
        or terminal.equation.family != "gaussian"
        or terminal.equation.residual != "independent"
        or len(terminal.parents) != 1
        or not middle.latent.any()
        or not np.isnan(middle.given).all()
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
    labels = [e.label for e in node.markers] + [e.label for e in node.random]
    return Side(
        observed=node.observed,
        coefficients=coefficients,
        genetic_values=[f"{node.name}_{label}_value" for label in labels],
        variance=f"{node.name}_residual_variance",
    )


def _coords(nodes: list[Node], individuals: pd.Index) -> dict[str, list[str]]:
    coords = {"individual": list(individuals)}
    for node in nodes:
        coords[node.dim] = list(node.columns)
        joint = any(
            isinstance(p, JointPrior) or is_covariance(p) for p in node.equation.priors.values()
        )
        if joint or node.equation.residual == "correlated":
            coords[_other_dim(node)] = list(node.columns)
        coords[node.row_dim] = list(node.row_names(individuals))
        for edge in node.markers:
            coords[edge.dim] = list(edge.genotypes.markers)
        for covariate in node.covariates:
            coords[_level_dim(node, covariate.label)] = list(covariate.levels)
        for random in node.random:
            coords[random.dim] = list(random.levels)
        for link in node.parents:
            parent = node_called(nodes, link.node)
            coords[parent_dim(node, link, parent)] = list(link.columns)
    return coords


def _other_dim(node: Node) -> str:
    """Dim of the columns of a covariance matrix of the node's columns."""
    return f"{node.dim}_other"


def _level_dim(node: Node, label: str) -> str:
    return f"{node.name}_{label}_level"


def parent_dim(node: Node, edge: ParentEdge, parent: Node) -> str:
    """Dim of the columns of a parent that an edge has: the parent's own if it has all."""
    whole = edge.columns == parent.columns
    return parent.dim if whole else f"{node.name}_{edge.label}_parent"


def _node(node: Node, nodes: list[Node], values: dict[str, Any], individuals: pd.Index) -> Any:
    """Add one node; returns the (individual, column) values its children see."""
    priors = node_priors(node, nodes)
    mean: Any = pt.zeros((len(node.observed), len(node.columns)))
    if node.equation.intercept:
        mean = mean + _parameter(priors["Intercept"], f"{node.name}_Intercept", (node.dim,))
    for covariate in node.covariates:
        dims = (_level_dim(node, covariate.label), node.dim)
        effects = _parameter(priors[covariate.label], f"{node.name}_{covariate.label}", dims)
        effects = effects + np.zeros((covariate.design.shape[1], len(node.columns)))
        mean = mean + pytensor.shared(covariate.design) @ effects
    variance, covariance = _residual(node, priors)
    exact = is_deterministic(node, priors)
    for edge in node.markers:
        prior = priors[edge.label]
        if exact:
            mean = mean + _smooth_genetic_value(node, edge, prior, variance)
        else:
            mean = mean + _by_row(node, _genetic_value(node, edge, prior, variance))
    for random in node.random:
        mean = mean + _random_value(node, random, priors[random.label], exact)
    for link in node.parents:
        parent = node_called(nodes, link.node)
        value = _weighted(node, link, parent, values[link.node], priors[link.label], variance)
        mean = mean + _by_row(node, value)
    for call in node.functions:
        value = _function_value(node, call, nodes, values, priors[call.label])
        mean = mean + _by_row(node, value)
    if exact:
        return pm.Deterministic(node.name, mean, dims=("individual", node.dim))
    shape: Any = None
    if (word := SHAPES.get(node.equation.family)) is not None:
        shape = _parameter(priors[word], f"{node.name}_{word}", (node.dim,))
        shape = shape + np.zeros(len(node.columns))
    return add_likelihood(node, mean, variance, individuals, shape, covariance)


def _residual(node: Node, priors: dict[str, Any]) -> tuple[Any, Any]:
    """Residual variances of the columns, and their covariance matrix where they correlate."""
    name = f"{node.name}_residual"
    if node.equation.residual == "independent":
        return _parameter(priors["residual_variance"], f"{name}_variance", (node.dim,)), None
    dims = (node.dim, _other_dim(node))
    covariance = create_covariance(priors["residual_covariance"], f"{name}_covariance", dims)
    variance = pm.Deterministic(f"{name}_variance", pt.diagonal(covariance), dims=(node.dim,))
    return variance, covariance


def _by_row(node: Node, value: Any) -> Any:
    """Values of the individuals for each of their records."""
    return value if node.records is None else value[node.records.owner]


def _smooth_genetic_value(node: Node, edge: MarkerEdge, prior: Any, residual: Any) -> Any:
    """Genetic values of a node without residual: NUTS draws the effects, so none may be a spike."""
    name = f"{node.name}_{edge.label}"
    residual = residual + np.zeros(len(node.columns))
    effects = create_smooth_effects(
        name, prior, (edge.dim, node.dim), marker_data(edge, node), residual
    )
    return genetic_value(edge.genotypes, effects)


def _random_value(node: Node, edge: RandomEdge, prior: Any, exact: bool) -> Any:
    """What the random effects of its level add to each individual."""
    if exact:
        raise InputError(
            f"Equation {node.equation.formula!r}: random effects {edge.label!r} need a residual "
            "variance above zero."
        )
    name, dims = f"{node.name}_{edge.label}", (edge.dim, node.dim)
    if is_covariance(prior):
        both = (node.dim, _other_dim(node))
        covariance = create_covariance(prior, f"{name}_covariance", both)
        pm.Deterministic(f"{name}_variance", pt.diagonal(covariance), dims=(node.dim,))
        effects = JointRandomEffects(name, covariance, edge.precision, dims=dims)
    else:
        variance = _parameter(prior, f"{name}_variance", (node.dim,))
        effects = RandomEffects(name, variance, edge.precision, dims=dims)
    value = level_value(effects, edge.index, edge.multiplier)
    return pm.Deterministic(f"{name}_value", value, dims=(node.row_dim, node.dim))


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
    rows, width = map(int, out.shape.eval(mode="FAST_COMPILE"))
    if rows != len(pm.modelcontext(None).coords["individual"]):
        raise InputError(
            f"Equation {node.equation.formula!r}: the function {edge.name!r} returned {rows} rows; "
            "it must return one for each individual."
        )
    pm.modelcontext(None).add_coord(dim, [str(k + 1) for k in range(width)])
    weights = _parameter(prior, f"{node.name}_{edge.label}", (dim, node.dim))
    return out @ (weights + np.zeros((width, len(node.columns))))


def _parameter(prior: Any, name: str, dims: tuple[str, ...]) -> Any:
    """A variable called `name` whatever the prior is: predictions look it up in the result."""
    value = create(prior, name, dims)
    check_shape(value, name, dims)
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
    if isinstance(prior, JointPrior):
        return _joint_value(node, edge, prior, name)
    effects = create_effects(name, prior, (edge.dim, node.dim), marker_data(edge, node), residual)
    return _named_value(node, edge.genotypes, effects, name)


def _joint_value(node: Node, edge: MarkerEdge, prior: JointPrior, name: str) -> Any:
    """Genetic values from effects of each marker on all columns together."""
    if owner_weights(node, edge.genotypes.n) is not None:
        raise InputError(
            f"Equation {node.equation.formula!r}: {type(prior).__name__} needs one row for each "
            "individual, without weights."
        )
    data = marker_data(edge, node)
    dims = (edge.dim, node.dim)
    effects = create_joint_effects(name, prior, dims, _other_dim(node), data)
    return _named_value(node, edge.genotypes, effects, name)


def _named_value(node: Node, genotypes: Genotypes, effects: Any, name: str) -> Any:
    """Genetic values, under a name that steps find.

    Where individuals have different numbers of records, or weights, that name is of the values
    times the roots of their sums: on that scale the residual variances of all are the same, as the
    sweep over the markers needs.
    """
    weights = owner_weights(node, genotypes.n)
    root = None if weights is None else np.sqrt(weights)
    scaled = genotypes if root is None else scaled_rows(genotypes, root)
    value = pm.Deterministic(
        f"{name}_value", genetic_value(scaled, effects), dims=("individual", node.dim)
    )
    return value if root is None else value / root[:, None]


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
    return _named_value(node, eigenvectors, effects, name)


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
    dims = (parent_dim(node, edge, parent), node.dim)
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

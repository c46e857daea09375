"""A fitted network as plain numbers and words, kept in the result: enough to predict from it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

import xarray as xr

from nnmm_pymc.build import edge_name
from nnmm_pymc.covariates import Covariate
from nnmm_pymc.data.names import name_text
from nnmm_pymc.edges import FunctionEdge, Node, RandomEdge, node_called
from nnmm_pymc.errors import InputError
from nnmm_pymc.formula import SHAPES
from nnmm_pymc.node_priors import column_scale, node_function

__all__ = [
    "CovariateDescription",
    "FunctionDescription",
    "NodeDescription",
    "ParentDescription",
    "RandomDescription",
    "describe",
    "parameter_names",
    "read_description",
    "to_json",
    "traits_first",
]


@dataclass(frozen=True)
class ParentDescription:
    """How a node depends on another: weights, activation, and the scaling inside it."""

    node: str
    columns: list[int]
    weights: str
    activation: str
    centre: list[float]
    scale: list[float]
    mask: list[list[bool]] | None


@dataclass(frozen=True)
class FunctionDescription:
    """A function of a user's own: its name, arguments, weights, and parameters.

    Attributes
    ----------
    name : str
    arguments : list of (node, columns, whether a matrix)
    weights : str
    parameters : list of str
        Unknown parameters that the function makes.
    """

    name: str
    arguments: list[tuple[str, list[int], bool]]
    weights: str
    parameters: list[str]


@dataclass(frozen=True)
class CovariateDescription:
    """How the columns of a covariate's design matrix are made, and their averages in the fit.

    Attributes
    ----------
    label : str
    average : list of float
    products : list, optional
        As in `nnmm_pymc.formula.Covariate`, with levels as texts.
    factors : dict
        Levels that the fit knows.
    """

    label: str
    average: list[float]
    products: list[list[tuple[str, str | None]]] | None
    factors: dict[str, list[str]]

    @property
    def names(self) -> list[str]:
        """Columns of a table that it is made from."""
        return list(dict.fromkeys(name for product in self.products or () for name, _ in product))


@dataclass(frozen=True)
class RandomDescription:
    """Random effects of an equation; attributes as in `nnmm_pymc.edges.RandomEdge`.

    Attributes
    ----------
    variance : str
        Name of their variance in the result.
    mean_square : float
        Variance that they add to the average individual of the fit, over that.
    """

    label: str
    variance: str
    layer: str | None
    columns: list[str]
    slope: str | None
    mean_square: float
    genetic: bool


@dataclass(frozen=True)
class NodeDescription:
    """One node: names of its variables in the result and of its dims.

    `individual` is the column that says of whom a record is, where there are repeated ones;
    `residual_covariance` there is where residuals of the columns correlate.
    """

    name: str
    layer: str
    columns: list[str]
    dim: str
    terminal: bool
    intercept: bool
    formula: str
    residual_variance: str
    latent: bool = False
    individual: str | None = None
    family: str = "gaussian"
    residual_covariance: str | None = None
    categories: list[float] | None = None
    markers: dict[str, str] = field(default_factory=dict)
    parents: list[ParentDescription] = field(default_factory=list)
    functions: list[FunctionDescription] = field(default_factory=list)
    covariates: dict[str, CovariateDescription] = field(default_factory=dict)
    random: dict[str, RandomDescription] = field(default_factory=dict)

    @property
    def genetic(self) -> dict[str, str]:
        """Layers of the terms of the breeding value: markers, and the individual's own effects."""
        own = {name: str(r.layer) for name, r in self.random.items() if r.genetic}
        return self.markers | own


def describe(nodes: list[Node]) -> list[NodeDescription]:
    """Describe the nodes, parents before children."""
    return [_describe(node, nodes) for node in nodes]


def to_json(described: list[NodeDescription]) -> str:
    """Text from which `read_description` makes the nodes again."""
    return json.dumps([asdict(node) for node in described])


def parameter_names(nodes: list[NodeDescription]) -> list[str]:
    """Variables of which a prediction needs the draws, marker and random effects apart."""
    names = []
    for node in nodes:
        names.append(node.residual_variance)
        if node.residual_covariance is not None:
            names.append(node.residual_covariance)
        names += [p.weights for p in node.parents]
        for f in node.functions:
            names += [f.weights, *f.parameters]
        names += list(node.covariates)
        names += [r.variance for r in node.random.values()]
        if node.categories is not None:
            names.append(f"{node.name}_cutpoints")
        if node.family in SHAPES:
            names.append(f"{node.name}_{SHAPES[node.family]}")
        if node.intercept:
            names.append(f"{node.name}_Intercept")
    return names


def _describe(node: Node, nodes: list[Node]) -> NodeDescription:
    parents = []
    for edge in node.parents:
        parent = node_called(nodes, edge.node)
        columns = [parent.columns.index(c) for c in edge.columns]
        centre, scale = column_scale(parent)
        parents.append(
            ParentDescription(
                edge.node,
                columns,
                f"{node.name}_{edge_name(node, edge)}",
                edge.activation,
                [float(centre[c]) if edge.scaled else 0.0 for c in columns],
                [float(scale[c]) if edge.scaled else 1.0 for c in columns],
                None if edge.mask is None else edge.mask.tolist(),
            )
        )
    return NodeDescription(
        name=node.name,
        layer=node.layer,
        columns=list(node.columns),
        dim=node.dim,
        terminal=node.terminal,
        intercept=node.equation.intercept,
        formula=node.equation.formula,
        residual_variance=f"{node.name}_residual_variance",
        latent=node.hidden,
        individual=None if node.records is None else node.records.column,
        family=node.equation.family,
        residual_covariance=f"{node.name}_residual_covariance"
        if node.equation.residual == "correlated"
        else None,
        categories=None if node.categories is None else node.categories.tolist(),
        markers={f"{node.name}_{e.label}": e.layer for e in node.markers},
        parents=parents,
        functions=[_describe_function(node, edge, nodes) for edge in node.functions],
        covariates={f"{node.name}_{c.label}": _describe_covariate(c) for c in node.covariates},
        random={f"{node.name}_{e.label}": _describe_random(node, e) for e in node.random},
    )


def _describe_random(node: Node, edge: RandomEdge) -> RandomDescription:
    return RandomDescription(
        edge.label,
        f"{node.name}_{edge.label}_variance",
        edge.layer,
        list(edge.columns),
        edge.slope,
        edge.mean_square,
        edge.genetic,
    )


def _describe_function(node: Node, edge: FunctionEdge, nodes: list[Node]) -> FunctionDescription:
    arguments = []
    for name, columns, matrix in edge.arguments:
        known = node_called(nodes, name).columns
        arguments.append((name, [known.index(c) for c in columns], matrix))
    parameters = node_function(edge).parameters
    return FunctionDescription(edge.name, arguments, f"{node.name}_{edge.label}", parameters)


def _describe_covariate(covariate: Covariate) -> CovariateDescription:
    products = covariate.products
    return CovariateDescription(
        covariate.label,
        covariate.design.mean(axis=0).tolist(),
        None
        if products is None
        else [[(n, None if v is None else name_text(v)) for n, v in p] for p in products],
        {name: list(map(name_text, levels)) for name, levels in covariate.factors.items()},
    )


def read_description(result: xr.DataTree) -> list[NodeDescription]:
    """Nodes of a fitted network from its result.

    Raises
    ------
    InputError
        If the result is not that of `Network.fit`.
    """
    if not isinstance(result, xr.DataTree):
        raise InputError(
            f"A result of Network.fit is needed, not {type(result).__name__}; nnmm_pymc.load reads "
            "one from the folder of a run."
        )
    text: Any = result.attrs.get("network")
    if text is None:
        raise InputError(
            "The result holds no network; it must come from Network.fit (sample() alone knows no "
            "layers)."
        )
    nodes = []
    for entry in json.loads(text):
        entry["parents"] = [ParentDescription(**p) for p in entry["parents"]]
        entry["functions"] = [FunctionDescription(**f) for f in entry["functions"]]
        covariates = entry["covariates"].items()
        entry["covariates"] = {name: CovariateDescription(**c) for name, c in covariates}
        random = entry["random"].items()
        entry["random"] = {name: RandomDescription(**r) for name, r in random}
        nodes.append(NodeDescription(**entry))
    return nodes


def traits_first(nodes: list[NodeDescription]) -> list[NodeDescription]:
    """Traits in the order of the equations, then the omics."""
    return sorted(nodes, key=lambda node: not node.terminal)

"""What a network is made of once its equations meet the data: nodes, and what reaches them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from nnmm_pymc.covariates import Covariate
from nnmm_pymc.data import GenomicRelationship, Genotypes, Relationship, genomic_relationship
from nnmm_pymc.data.precision import Precision
from nnmm_pymc.formula import Equation

__all__ = [
    "FunctionEdge",
    "MarkerEdge",
    "Node",
    "ParentEdge",
    "RandomEdge",
    "Records",
    "node_called",
]


@dataclass(frozen=True, eq=False)
class MarkerEdge:
    """Markers of a genotype layer that reach the columns of a node."""

    label: str
    layer: str
    genotypes: Genotypes
    dim: str
    mask: np.ndarray | None

    @cached_property
    def relationship(self) -> GenomicRelationship | None:
        """Genomic relationship of the individuals; none where the layer is a relationship."""
        if isinstance(self.genotypes, Relationship):
            return None
        return genomic_relationship(self.genotypes)


@dataclass(frozen=True, eq=False)
class ParentEdge:
    """A function of other nodes' columns that enters with weights."""

    label: str
    node: str
    columns: tuple[str, ...]
    activation: str
    scaled: bool
    mask: np.ndarray | None


@dataclass(frozen=True, eq=False)
class FunctionEdge:
    """A function of a user's own whose outputs enter with weights.

    Attributes
    ----------
    label : str
        As written.
    name : str
        Name of the function.
    function : callable
    arguments : tuple of (str, tuple of str, bool)
        Node and columns of each argument, and whether it is a layer (a matrix).
    """

    label: str
    name: str
    function: Callable[..., Any]
    arguments: tuple[tuple[str, tuple[str, ...], bool], ...]


@dataclass(frozen=True, eq=False)
class RandomEdge:
    """Random effects of the levels of something, of which each individual has one.

    Attributes
    ----------
    label : str
        As written: ``1|herd``, ``age|herd``, ``ped``, ``ped(dam)``.
    dim : str
        Dim of the levels.
    levels : pandas.Index of str
    index : (individual,) array of int
        Level of each individual, -1 where it has none.
    layer : str, optional
        Layer of the pedigree or precision matrix.
    precision : Precision, optional
        Of the effects, in units of one over their variance; they are independent without one.
    columns : tuple of str
        Columns that name the level; none where it is the individual itself.
    slope : str, optional
        Column that multiplies the effects.
    multiplier : (individual,) array
        Its values; ones without a slope.
    """

    label: str
    dim: str
    levels: pd.Index
    index: np.ndarray
    layer: str | None
    precision: Precision | None
    columns: tuple[str, ...]
    slope: str | None
    multiplier: np.ndarray

    @property
    def genetic(self) -> bool:
        """Whether the effects are part of the individual's own breeding value."""
        return self.layer is not None and not self.columns

    @property
    def mean_square(self) -> float:
        """Variance of what the effects add, over their own, in the average individual."""
        square = self.multiplier**2
        if self.precision is not None and self.precision.relationship_diagonal is not None:
            square = square * self.precision.relationship_diagonal[self.index]
        return float(np.mean(square[self.index >= 0]))


@dataclass(frozen=True, eq=False)
class Records:
    """Repeated records of the individuals of a network.

    Attributes
    ----------
    column : str
        Column that says of whom a record is.
    dim : str
    names : pandas.Index of str
        Of the records: their numbers in the table.
    place : (record,) array of int
        Rows of the table.
    owner : (record,) array of int
        Position of the individual of each record.
    """

    column: str
    dim: str
    names: pd.Index
    place: np.ndarray
    owner: np.ndarray


@dataclass(eq=False)
class Node:
    """The left side of one equation.

    Attributes
    ----------
    name : str
        The left side as written; prefix of the node's variables.
    dim : str
        Dim of its columns: ``omic`` or ``trait``, with the name before it if there are several.
    observed : (row, column) array
        NaN where missing; rows are individuals, or records.
    latent : (individual, column) array of bool
        Missing cells that something observed depends on: unknowns of the model. Other missing
        cells carry no information and are left out of it.
    given : (individual, column) array
        Values that are known but not modelled (`nnmm_pymc.ungenotyped`); NaN elsewhere. `observed`
        is NaN there.
    records : Records, optional
        Where rows are records, not individuals: those of `observed`, of covariates and random
        effects.
    weights : (row,) array, optional
        Known weights of the rows.
    categories : array, optional
        Values of ordered categories, of which `observed` has the positions.
    bounds : pair of (row, column) arrays, optional
        Between which censored values lie; NaN for others. `observed` has a stand-in for them.
    """

    name: str
    layer: str
    columns: tuple[str, ...]
    dim: str
    equation: Equation
    observed: np.ndarray
    terminal: bool = True
    latent: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    given: np.ndarray = field(default_factory=lambda: np.zeros(0))
    markers: list[MarkerEdge] = field(default_factory=list)
    parents: list[ParentEdge] = field(default_factory=list)
    functions: list[FunctionEdge] = field(default_factory=list)
    covariates: list[Covariate] = field(default_factory=list)
    random: list[RandomEdge] = field(default_factory=list)
    records: Records | None = None
    weights: np.ndarray | None = None
    categories: np.ndarray | None = None
    bounds: tuple[np.ndarray, np.ndarray] | None = None

    def __post_init__(self) -> None:
        if not self.given.size:
            self.given = np.full(self.observed.shape, np.nan)

    def row_names(self, individuals: pd.Index) -> pd.Index:
        """Names of the rows: the individuals, or the numbers of their records."""
        return individuals if self.records is None else self.records.names

    @property
    def row_dim(self) -> str:
        """Dim of the rows."""
        return "individual" if self.records is None else self.records.dim

    @property
    def row_word(self) -> str:
        """What messages call the rows."""
        return "individuals" if self.records is None else "records"

    @property
    def hidden(self) -> bool:
        """Whether the node is latent: without any observed cell."""
        return bool(np.isnan(self.observed).all())

    @property
    def n_genetic_terms(self) -> int:
        """Terms that share the prior heritability."""
        return max(1, len(self.markers))


def node_called(nodes: Sequence[Node], name: str) -> Node:
    """The node of this name."""
    return next(node for node in nodes if node.name == name)

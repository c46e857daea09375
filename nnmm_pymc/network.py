"""`Layer` and `Network`: name the layers, write the equations, get a model, a fit, predictions."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from nnmm_pymc.alphabet import MarkerPrior
from nnmm_pymc.build import build_model
from nnmm_pymc.data import Alignment, Genotypes, LatentNodes, Table, align
from nnmm_pymc.data.pedigree import Pedigree
from nnmm_pymc.data.precision import Precision
from nnmm_pymc.errors import InputError
from nnmm_pymc.fit import fit_network
from nnmm_pymc.formula import Equation
from nnmm_pymc.io import read_genotypes, read_table
from nnmm_pymc.io.dosages import NoDosage
from nnmm_pymc.io.pedigrees import has_parents, read_pedigree
from nnmm_pymc.io.records import read_records
from nnmm_pymc.node_priors import node_priors
from nnmm_pymc.nodes import Node, resolve
from nnmm_pymc.prediction import predict_network
from nnmm_pymc.prior_groups import MarkerGroups
from nnmm_pymc.priors import Prior

if TYPE_CHECKING:
    import pymc as pm
    import xarray as xr

__all__ = ["Layer", "Network", "predict_network"]


@dataclass(frozen=True, eq=False)
class Layer:
    """One table of a network: genotypes, omics or phenotypes.

    Parameters
    ----------
    name : str
        How equations call it.
    data : Genotypes, DataFrame, array, path, Pedigree, Precision, or `latent` nodes
        Rows are individuals, their IDs the index (of a file: the first column). A layer that no
        equation has on its left, but that stands alone on a right side, is read as a pedigree
        (`read_pedigree`) if it has columns of sires and dams, else as genotypes
        (`read_genotypes`); any other as a table (`read_table`), missing cells being NaN. Members of
        a pedigree or precision matrix need no other data: they connect those that have some.
    individual : str, optional
        Column of a table whose rows are records, any number of each individual: it says of whom.
        Random effects of that column, ``(1|cow)``, are the permanent environment; a pedigree's and
        markers' are those of the individual, repeated over its records. Nothing can depend on such
        a layer.
    """

    name: str
    data: Any
    individual: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise InputError(
                f"The name of a layer is {_short(self.name)}; write Layer(name, data), with the "
                "name that equations use."
            )

    def __repr__(self) -> str:
        return f"Layer({self.name!r}, {_short(self.data)})"


def _short(data: Any) -> str:
    if isinstance(data, str | os.PathLike):
        return repr(str(data))
    shown = isinstance(data, Genotypes | Table | Pedigree | Precision | int | float)
    return repr(data) if shown else f"<{type(data).__name__}>"


def _all_of(values: Any, word: str, *kinds: type) -> tuple[Any, ...]:
    """Layers or equations as a tuple; refuses what is none."""
    if not isinstance(values, Iterable):
        values = (values,)
    values = tuple(values)
    for value in values:
        if not isinstance(value, kinds):
            how = {"layer": 'Layer("geno", data)', "equation": '"y ~ 1 + geno"'}[word]
            raise InputError(f"{_short(value)} is no {word} of a network; write {how}.")
    return values


class Network:
    """A Bayesian network from genotypes through omics to phenotypes, as a PyMC model.

    Parameters
    ----------
    layers : Layer or sequence of Layer
    equations : Equation, str, or sequence of these

    Attributes
    ----------
    alignment : Alignment
        Who is in which table, who was dropped and why.
    tables, kinships : dict
        What was read by layer: genotypes and tables, and pedigrees and precision matrices.
    nodes : list of Node
        The left sides of the equations, parents before children.
    individuals : pandas.Index
        Individuals of the model: those with at least one value that is modelled. Others that are
        genotyped carry no information and get their breeding values from the fit. An individual
        without genotypes counts in equations without markers: its omics are taken as they are.
    model : pymc.Model
        To inspect, or to extend inside ``with network.model:``.

    Examples
    --------
    >>> import nnmm_pymc as nn
    >>> data = nn.simulate(n_individuals=100, n_markers=50, n_omics=2, random_seed=1)
    >>> network = nn.Network(
    ...     [
    ...         nn.Layer("geno", data.genotypes),
    ...         nn.Layer("omics", data.omics),
    ...         nn.Layer("pheno", data.phenotypes),
    ...     ],
    ...     ["omics ~ 1 + geno", "y ~ 1 + tanh(omics)"],
    ... )
    >>> network.model["y_omics"].eval().shape
    (2, 1)
    """

    def __init__(
        self, layers: Layer | Sequence[Layer], equations: Equation | str | Sequence[Equation | str]
    ):
        self.layers = _all_of((layers,) if isinstance(layers, Layer) else layers, "layer", Layer)
        given = (equations,) if isinstance(equations, Equation | str) else equations
        self.equations = tuple(
            Equation(e) if isinstance(e, str) else e
            for e in _all_of(given, "equation", Equation, str)
        )
        names = [layer.name for layer in self.layers]
        doubled = sorted({n for n in names if names.count(n) > 1})
        if doubled:
            raise InputError(f"Two layers are called {doubled[0]!r}; names must differ.")
        if not self.equations:
            raise InputError("A network needs at least one equation.")
        measured = [x for x in self.layers if not isinstance(x.data, LatentNodes)]
        read = {layer.name: self._read(layer) for layer in measured}
        self.kinships = {k: x for k, x in read.items() if isinstance(x, Pedigree | Precision)}
        self.tables = {k: x for k, x in read.items() if isinstance(x, Genotypes | Table)}
        self.alignment: Alignment = align(self.tables)
        for layer in self.layers:
            if isinstance(layer.data, LatentNodes):
                self.tables[layer.name] = layer.data.table(self.alignment.individuals)
        self.nodes: list[Node]
        self.individuals: pd.Index
        self.nodes, self.individuals = resolve(
            {**self.tables, **self.kinships},
            self.equations,
            pd.Index([*self.alignment.individuals, *self.alignment.dropped.index]),
        )
        self.alignment = self.alignment.using(self.individuals)

    def _read(self, layer: Layer) -> Genotypes | Table | Pedigree | Precision:
        if layer.individual is not None:
            return read_records(layer.data, layer.individual, name=layer.name)
        if isinstance(layer.data, Genotypes | Table | Pedigree | Precision):
            return layer.data
        left = {name for e in self.equations for name in e.left}
        terms = [t for e in self.equations for t in e.terms]
        right = {name for t in terms for name in (*t.names, *t.functions)}
        columns = set(map(str, getattr(layer.data, "columns", ())))
        if layer.name in right and layer.name not in left and not left & columns:
            if has_parents(layer.data):
                return read_pedigree(layer.data)
            try:
                return read_genotypes(layer.data)
            except NoDosage as error:
                raise InputError(
                    f"{error} Layer {layer.name!r} was taken for genotypes, as no equation has it, "
                    "or a column of it, on its left; if it is a table, give "
                    f"Layer({layer.name!r}, read_table(...)) and an equation."
                ) from None
        return read_table(layer.data, name=layer.name)

    @property
    def functions(self) -> dict[str, Callable[..., Any]]:
        """Functions of your own, by name, of all equations."""
        found: dict[str, Callable[..., Any]] = {}
        for equation in self.equations:
            for name, function in equation.functions.items():
                if found.setdefault(name, function) is not function:
                    raise InputError(
                        f"Two equations call different functions {name!r}; rename one."
                    )
        return found

    @cached_property
    def model(self) -> pm.Model:
        """The PyMC model, built once."""
        return build_model(self.nodes, self.individuals)

    @property
    def priors(self) -> dict[str, dict[str, Any]]:
        """Priors of every equation by term, defaults included."""
        return {node.name: node_priors(node, self.nodes) for node in self.nodes}

    def __repr__(self) -> str:
        lines = ["Network"]
        lines += [f"  {layer!r}" for layer in self.layers]
        for node in self.nodes:
            lines.append(f"  {node.equation.formula}")
            for term, prior in node_priors(node, self.nodes).items():
                lines.append(f"    {term}: {_describe(prior)}")
        return "\n".join(lines)

    def fit(
        self,
        draws: int = 1000,
        tune: int = 1000,
        chains: int = 4,
        cores: int | None = None,
        random_seed: int | None = None,
        progressbar: bool = True,
        checkpoint: str | os.PathLike[str] | None = None,
        resume: bool = False,
        **kwargs: Any,
    ) -> xr.DataTree:
        """Sample the posterior; see `nnmm_pymc.sample.sample` for further options.

        With a folder as `checkpoint` a run that was stopped goes on with ``resume=True`` and gives,
        bit for bit, what it would have given.

        Returns
        -------
        xarray.DataTree
        """
        return fit_network(
            self,
            draws=draws,
            tune=tune,
            chains=chains,
            cores=cores,
            random_seed=random_seed,
            progressbar=progressbar,
            checkpoint=checkpoint,
            resume=resume,
            **kwargs,
        )

    def predict(
        self,
        result: xr.DataTree,
        genotypes: Any = None,
        omics: Any = None,
        covariates: Any = None,
        *,
        probability: float = 0.9,
        random_seed: int = 0,
    ) -> pd.DataFrame:
        """Breeding values and phenotypes of individuals the fit need not have seen.

        It needs the result alone, so `nnmm_pymc.predict_network` does the same for one that was
        read back; parameters and columns are described there. Without `covariates` they are held
        at their average in the fit.

        Returns
        -------
        DataFrame
        """
        return predict_network(
            result,
            genotypes,
            omics,
            covariates,
            functions=self.functions,
            probability=probability,
            random_seed=random_seed,
        )


def _describe(prior: Any) -> str:
    """A prior on one line; arrays by their range."""
    if isinstance(prior, Prior):
        parts = [f'"{prior.name}"', *(f"{k}={_describe(v)}" for k, v in prior.parameters.items())]
        if prior.dims is not None:
            parts.append(f"dims={prior.dims!r}")
        return f"Prior({', '.join(parts)})"
    if isinstance(prior, MarkerPrior):
        shown = [(f.name, getattr(prior, f.name)) for f in fields(prior) if f.init]
        parts = [f"{name}={_describe(value)}" for name, value in shown if value is not None]
        return f"{type(prior).__name__}({', '.join(parts)})"
    if isinstance(prior, MarkerGroups):
        groups = repr(prior.groups) if isinstance(prior.groups, str) else "<groups>"
        return f"MarkerGroups({groups}, {_describe(prior.priors)})"
    if isinstance(prior, Mapping):
        return f"{{{', '.join(f'{k!r}: {_describe(v)}' for k, v in prior.items())}}}"
    if isinstance(prior, np.ndarray) and prior.size:
        low, high = f"{prior.min():.4g}", f"{prior.max():.4g}"
        return low if low == high else f"{low}..{high}"
    return f"{prior:.4g}" if isinstance(prior, float) else repr(prior)

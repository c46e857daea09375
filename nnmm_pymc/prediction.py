"""Predictions for new individuals from files, frames or tables, and from the result of a fit alone.

What is given is read and matched by name here; the arithmetic is in `nnmm_pymc.predict`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from nnmm_pymc.data import Genotypes, Table, align
from nnmm_pymc.description import NodeDescription, read_description
from nnmm_pymc.errors import InputError
from nnmm_pymc.io import read_genotypes, read_table
from nnmm_pymc.predict import predict

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["overlap", "predict_network"]


def predict_network(
    result: xr.DataTree,
    genotypes: Any,
    omics: Any = None,
    *,
    probability: float = 0.9,
    random_seed: int = 0,
) -> pd.DataFrame:
    """Breeding values and phenotypes of individuals the fit need not have seen.

    Parameters
    ----------
    result : DataTree
        From `Network.fit` or `load`.
    genotypes : path, DataFrame, array, Genotypes, or mapping from layer to one of these
        Markers are matched by name; one that is missing is imputed by its mean in the fit.
    omics : path, DataFrame, Table, or mapping from layer to one of these, optional
        Known omics, NaN where unknown; the predicted phenotype uses them, the breeding value, which
        is what the genotype alone says, does not. Columns are matched by name.
    probability : float
        Of the intervals.
    random_seed : int
        For the predictive draws.

    Returns
    -------
    DataFrame
        Columns individual, trait, ebv, ebv_sd, ebv_lower, ebv_upper, prediction, prediction_sd,
        prediction_lower, prediction_upper.

    Raises
    ------
    InputError
        A layer is unknown, lacking or unreadable, or shares no marker, individual or omic with
        what it must match.

    Examples
    --------
    >>> import nnmm_pymc as nn
    >>> result = nn.load("run")  # doctest: +SKIP
    >>> nn.predict_network(result, "new.bed", omics="new_omics.csv")  # doctest: +SKIP
    """
    nodes = read_description(result)
    layers = _genotype_layers(nodes)
    given = {
        name: read_genotypes(data, drop_constant=False)
        for name, data in _by_layer(genotypes, "genotype", layers).items()
    }
    lacking = sorted(set(layers) - set(given))
    if lacking:
        raise InputError(f"The fit needs genotypes of layer {lacking[0]!r} too.")
    individuals = align(given).individuals
    given = {name: g.take(individuals) for name, g in given.items()}
    observed: dict[str, np.ndarray] = {}
    middle = [node for node in nodes if not node.terminal]
    if isinstance(omics, Mapping):
        names = list(dict.fromkeys(node.layer for node in middle))
        for layer, data in _by_layer(omics, "omics", names).items():
            observed |= _known([n for n in middle if n.layer == layer], data, given, individuals)
    elif omics is not None:
        observed = _known(middle, omics, given, individuals)
    return predict(result, given, observed, probability=probability, random_seed=random_seed)


def overlap(result: xr.DataTree, genotypes: Genotypes, omics: Table | None = None) -> str:
    """How much of what was fitted new data hold, in words; for a fit with one genotype layer."""
    nodes = read_description(result)
    layers = _genotype_layers(nodes)
    if len(layers) != 1:
        raise InputError(
            f"The fit has {len(layers)} genotype layers ({', '.join(layers)}) where one belongs; "
            "give each its genotypes with nnmm_pymc.predict_network in Python."
        )
    mean_dosage = result["constant_data"].dataset[f"{layers[0]}_mean_dosage"]
    markers = mean_dosage[mean_dosage.dims[0]].to_index().astype(str)
    held = int(markers.isin(genotypes.markers).sum())
    lines = [
        f"{genotypes.source}: {genotypes.n} individuals; {held} of the {len(markers)} markers of "
        f"the fit ({len(markers) - held} absent, taken as their mean)."
    ]
    for node in nodes:
        if omics is None or node.terminal:
            continue
        columns = omics.frame.columns.intersection(node.columns)
        values = omics.frame.loc[omics.individuals.isin(genotypes.individuals), columns]
        lines.append(
            f"{omics.source}: {len(columns)} of the {len(node.columns)} {node.name} of the fit, "
            f"for {values.notna().any(axis=1).sum()} of the {genotypes.n} individuals."
        )
    return "\n".join(lines)


def _genotype_layers(nodes: list[NodeDescription]) -> list[str]:
    return sorted({layer for node in nodes for layer in node.markers.values()})


def _by_layer(given: Any, word: str, names: list[str]) -> dict[str, Any]:
    """Data by layer: as given, or the one thing given for the one layer there is."""
    if not names:
        raise InputError(f"The fit has no {word} layer; predict without {word}.")
    if isinstance(given, Mapping):
        unknown = sorted(set(given) - set(names))
        if unknown:
            raise InputError(f"{unknown[0]!r} is no {word} layer of the fit ({', '.join(names)}).")
        return dict(given)
    if len(names) != 1:
        raise InputError(
            f"The fit has {len(names)} {word} layers ({', '.join(names)}); give a mapping from "
            "their names to data."
        )
    return {names[0]: given}


def _known(
    nodes: list[NodeDescription],
    data: Any,
    genotypes: Mapping[str, Genotypes],
    individuals: pd.Index,
) -> dict[str, np.ndarray]:
    """Known values of these nodes in the order of the fit, NaN where unknown."""
    if not nodes:
        raise InputError("The fit has no omics layer; predict without omics.")
    table = read_table(data, name="omics" if isinstance(data, pd.DataFrame) else None)
    align({**genotypes, "omics": table})
    known: dict[str, np.ndarray] = {}
    seen: dict[str, str] = {}
    for node in nodes:
        columns = [c for c in node.columns if c in table.frame.columns]
        for column in columns:
            if seen.setdefault(column, node.layer) != node.layer:
                raise InputError(
                    f"{table.source}: column {column!r} is in layers {seen[column]!r} and "
                    f"{node.layer!r} of the fit; give a mapping from layers to tables."
                )
        if columns:
            frame = pd.DataFrame(table.numeric(columns), table.individuals, columns)
            frame = frame.reindex(index=individuals, columns=list(node.columns))
            known[node.name] = frame.to_numpy()
    if not known:
        raise InputError(
            f"{table.source}: none of its columns (first: {table.frame.columns[0]!r}) is an omic "
            f"of the fit (first: {nodes[0].columns[0]!r}); check the names."
        )
    return known

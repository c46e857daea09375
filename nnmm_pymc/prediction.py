"""Predictions for new individuals from files, frames or tables, and from the result of a fit alone.

What is given is read and matched by name; the arithmetic of a draw is in `nnmm_pymc.merit`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from nnmm_pymc.covariate_designs import covariate_designs, covariate_names
from nnmm_pymc.data import Genotypes, Table, align
from nnmm_pymc.description import NodeDescription, read_description
from nnmm_pymc.errors import InputError
from nnmm_pymc.family_draws import observed_values
from nnmm_pymc.io import read_genotypes, read_table
from nnmm_pymc.marker_matching import match_markers
from nnmm_pymc.merit import merit_draws, phenotype_draws
from nnmm_pymc.summarise import summary, tails

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["genotype_layers", "genotypes_by_layer", "overlap", "predict_network"]


def predict_network(
    result: xr.DataTree,
    genotypes: Any = None,
    omics: Any = None,
    covariates: Any = None,
    *,
    functions: Mapping[str, Callable[..., Any]] | None = None,
    probability: float = 0.9,
    random_seed: int = 0,
) -> pd.DataFrame:
    """Breeding values and phenotypes of individuals the fit need not have seen.

    Parameters
    ----------
    result : DataTree
        From `Network.fit` or `load`.
    genotypes : path, DataFrame, array, Genotypes, or mapping from layer to one of these
        Markers are matched by name; one that is missing is imputed by its mean in the fit. None
        for a fit without: individuals are then those of `covariates`, else of `omics`, else all
        members of its pedigree.
    omics : path, DataFrame, Table, or mapping from layer to one of these, optional
        Known omics, NaN where unknown; the predicted phenotype uses them, the breeding value, which
        is what the genotype alone says, does not. Columns are matched by name.
    covariates : path, DataFrame or Table, optional
        The columns that the fit had as covariates, without missing cells, factors with levels that
        the fit knows, and those that name the levels of its random effects. A level of a random
        effect that the fit did not see, or that is missing, has its prior: mean zero, and the
        variance in the intervals. The predicted phenotype uses them; the breeding value, and
        everything without them, holds covariates at their average in the fit, and random effects
        but the individual's own at zero.
    functions : mapping from name to callable, optional
        The network's functions of your own, which a result cannot hold (`Network.predict` has
        them).
    probability : float
        Of the intervals.
    random_seed : int
        For the predictive draws.

    Returns
    -------
    DataFrame
        Columns individual, trait, ebv, ebv_sd, ebv_lower, ebv_upper, prediction, prediction_sd,
        prediction_lower, prediction_upper. Of a trait that is not Gaussian the breeding value is of
        its liability, the prediction of what is observed: of a binary trait its probability.

    Raises
    ------
    InputError
        A layer is unknown, lacking or unreadable, or shares no marker, individual or omic with
        what it must match; a covariate is missing, has a level that the fit did not see, or was
        transformed in the equation (``log(age)``: such a column cannot be made again); an
        individual is not in the pedigree of the fit.

    Examples
    --------
    >>> import nnmm_pymc as nn
    >>> result = nn.load("run")  # doctest: +SKIP
    >>> nn.predict_network(result, "new.bed", omics="new_omics.csv")  # doctest: +SKIP
    """
    nodes = read_description(result)
    levels = tails(probability)
    layers = genotype_layers(nodes)
    given = {}
    if layers or genotypes is not None:
        given = genotypes_by_layer(genotypes, layers)
    individuals = _individuals(result, given, omics, covariates)
    given = {name: g.take(individuals) for name, g in given.items()}
    observed: dict[str, np.ndarray] = {}
    middle = [node for node in nodes if not node.terminal]
    if isinstance(omics, Mapping):
        names = list(dict.fromkeys(node.layer for node in middle))
        for layer, data in _by_layer(omics, "omics", names).items():
            observed |= _known([n for n in middle if n.layer == layer], data, given, individuals)
    elif omics is not None:
        observed = _known(middle, omics, given, individuals)
    designs = {}
    if covariates is not None:
        designs = covariate_designs(result, covariates, given, individuals)
    matched = {name: match_markers(g, result, name) for name, g in given.items()}
    rng = np.random.default_rng(random_seed)
    return _predicted(result, matched, individuals, observed, designs, functions, levels, rng)


def genotypes_by_layer(genotypes: Any, layers: list[str]) -> dict[str, Genotypes]:
    """Genotypes of every layer of a fit, read; refuses one that is unknown or lacking."""
    given = {
        name: read_genotypes(data, drop_constant=False)
        for name, data in _by_layer(genotypes, "genotype", layers).items()
    }
    for read in given.values():
        read.check_called()
    lacking = sorted(set(layers) - set(given))
    if lacking:
        raise InputError(f"The fit needs genotypes of layer {lacking[0]!r} too.")
    return given


def _individuals(
    result: xr.DataTree, genotypes: Mapping[str, Genotypes], omics: Any, covariates: Any
) -> pd.Index:
    """Whom to predict."""
    if genotypes:
        return align(genotypes).individuals
    tables = [covariates, *(omics.values() if isinstance(omics, Mapping) else [omics])]
    for name, data in zip(["covariates"] + ["omics"] * len(tables), tables, strict=False):
        if data is not None:
            return read_table(data, name=name).individuals
    values = result["genetic_values"].dataset if "genetic_values" in result.children else {}
    if "individual" not in values:
        raise InputError(
            "The fit has no genotypes or pedigree, so it does not say whom to predict; give "
            "covariates."
        )
    return values["individual"].to_index().astype(str)


def _predicted(
    result: xr.DataTree,
    genotypes: Mapping[str, Genotypes],
    individuals: pd.Index,
    observed: Mapping[str, np.ndarray],
    designs: Mapping[str, np.ndarray],
    functions: Mapping[str, Callable[..., Any]] | None,
    levels: tuple[float, float],
    rng: np.random.Generator,
) -> pd.DataFrame:
    """The table of `predict_network` from what was matched; `levels` are those of the quantiles."""
    nodes = read_description(result)
    terminal = [node for node in nodes if node.terminal]
    merit: dict[str, list[np.ndarray]] = {node.name: [] for node in terminal}
    phenotype: dict[str, list[np.ndarray]] = {node.name: [] for node in terminal}
    for batch, moments in merit_draws(
        result, genotypes, functions=functions, individuals=individuals
    ):
        drawn = phenotype_draws(nodes, batch, len(individuals), observed, designs, rng, functions)
        for node in terminal:
            merit[node.name].append(moments[node.name].mean)
            phenotype[node.name].append(observed_values(node, batch, drawn[node.name], rng))
    frames = []
    for node in terminal:
        m, y = np.concatenate(merit[node.name]), np.concatenate(phenotype[node.name])
        for k, trait in enumerate(node.columns):
            table = pd.DataFrame({"individual": individuals, "trait": trait})
            for name, draws in (("ebv", m[..., k]), ("prediction", y[..., k])):
                table = table.assign(**summary(draws, levels, name))
            frames.append(table)
    return pd.concat(frames, ignore_index=True)


def overlap(
    result: xr.DataTree,
    genotypes: Genotypes | None,
    omics: Table | None = None,
    covariates: Table | None = None,
) -> str:
    """How much of what was fitted new data hold, in words; with one genotype layer at most."""
    nodes = read_description(result)
    layers = genotype_layers(nodes)
    lines = [] if genotypes is None else [_marker_overlap(result, genotypes, layers)]
    if genotypes is None and layers:
        raise InputError(
            f"The fit has genotypes ({', '.join(layers)}); give those of whom to predict."
        )
    for node in nodes:
        if omics is None or node.terminal:
            continue
        columns = omics.frame.columns.intersection(node.columns)
        who = omics.individuals if genotypes is None else genotypes.individuals
        values = omics.frame.loc[omics.individuals.isin(who), columns]
        lines.append(
            f"{omics.source}: {len(columns)} of the {len(node.columns)} {node.name} of the fit, "
            f"for {values.notna().any(axis=1).sum()} of the {len(who)} individuals."
        )
    names = covariate_names(nodes)
    if covariates is not None:
        lines.append(f"{covariates.source}: covariates {', '.join(names)}.")
    elif names:
        lines.append(f"Covariates ({', '.join(names)}): at their averages in the fit.")
    return "\n".join(lines)


def _marker_overlap(result: xr.DataTree, genotypes: Genotypes, layers: list[str]) -> str:
    if not layers:
        raise InputError("The fit has no genotypes; predict without them.")
    if len(layers) != 1:
        raise InputError(
            f"The fit has {len(layers)} genotype layers ({', '.join(layers)}) where one belongs; "
            "give each its genotypes with nnmm_pymc.predict_network in Python."
        )
    mean_dosage = result["constant_data"].dataset[f"{layers[0]}_mean_dosage"]
    markers = mean_dosage[mean_dosage.dims[0]].to_index().astype(str)
    held = int(markers.isin(genotypes.markers).sum())
    return (
        f"{genotypes.source}: {genotypes.n} individuals; {held} of the {len(markers)} markers of "
        f"the fit ({len(markers) - held} absent, taken as their mean)."
    )


def genotype_layers(nodes: list[NodeDescription]) -> list[str]:
    """Names of the genotype layers of a fit."""
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

"""What traits would be if omics or markers were set: expectations under do().

Setting an omic cuts the arrows into it; what follows it in the network follows it. Nothing is
learnt about what comes before it, as it would be from observing the same value. Everything else has
its expectation given the genotype, covariates at their average in the fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from nnmm_pymc.data import Genotypes
from nnmm_pymc.data.names import some
from nnmm_pymc.description import NodeDescription, read_description
from nnmm_pymc.errors import InputError
from nnmm_pymc.io import read_table
from nnmm_pymc.mediation import fitted_genotypes
from nnmm_pymc.merit import Batch, Functions, merit_draws, node_moments
from nnmm_pymc.summarise import summary, tails

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["intervene"]


def intervene(
    result: xr.DataTree,
    genotypes: Any,
    *,
    omics: Mapping[str, float | pd.Series] | None = None,
    markers: Mapping[str, float] | None = None,
    average: bool = False,
    functions: Functions | None = None,
    probability: float = 0.9,
) -> pd.DataFrame:
    """Expected traits under do(omic = value) and do(marker = dosage), and the change they make.

    The answer is causal only if the network is: nothing left out of it may act both on an omic that
    is set and, other than through it, on a trait (or on an omic between the two). A marker that is
    set is taken to be the cause itself, not one in linkage disequilibrium with the cause.

    Parameters
    ----------
    result : DataTree
        From `Network.fit` or `load`.
    genotypes : path, DataFrame, array, Genotypes, or mapping from layer to one of these
        Of the individuals to ask about, whom the fit need not have seen.
    omics : mapping from omic to a number, or to a Series by individual
        What each is set to, in the units of the data; NaN in a Series leaves that individual alone.
    markers : mapping from marker to dosage
        Of the allele that the fit counts, 0 to 2, for all individuals.
    average : bool
        One row for each trait: the mean over individuals, whose change is the average causal
        effect.
    functions : mapping from name to callable, optional
        The network's functions of your own, which a result cannot hold (`Network.functions`).
    probability : float
        Of the intervals.

    Returns
    -------
    DataFrame
        Columns individual (unless `average`), trait, expected (under the intervention; posterior
        mean), expected_sd, expected_lower, expected_upper, and change (against no intervention,
        draw by draw), change_sd, change_lower, change_upper. Residuals of the trait are not in it.

    Raises
    ------
    InputError
        Nothing is set; an omic or marker is unknown; a value is no number; a Series lacks an
        individual; or the genotypes do not match the fit.

    Examples
    --------
    >>> import nnmm_pymc as nn
    >>> result = nn.load("run")  # doctest: +SKIP
    >>> nn.intervene(result, "cohort.bed", omics={"gene1": 0.0}, average=True)  # doctest: +SKIP
    """
    levels = tails(probability)
    for name, given in (("omics", omics), ("markers", markers)):
        if given is not None and not isinstance(given, Mapping):
            raise InputError(
                f"{name}={given!r} must be a mapping from names to what they are set to."
            )
    if not omics and not markers:
        raise InputError("Nothing is set; give omics={name: value} or markers={name: dosage}.")
    nodes = read_description(result)
    matched = fitted_genotypes(result, genotypes)
    individuals = next(iter(matched.values())).individuals
    held = _held(nodes, omics or {}, individuals)
    steps = _steps(matched, markers or {})
    terminal = [node for node in nodes if node.terminal]
    drawn: dict[str, list[np.ndarray]] = {node.name: [] for node in terminal}
    for batch, before in merit_draws(result, matched, functions=functions):
        changed = _with_markers(result, nodes, batch, steps)
        after = node_moments(nodes, changed, len(individuals), held, functions)
        for node in terminal:
            expected, usual = after[node.name].mean, before[node.name].mean
            both = np.stack([expected, expected - usual])
            drawn[node.name].append(both.mean(axis=2, keepdims=True) if average else both)
    frames = []
    for node in terminal:
        both = np.concatenate(drawn[node.name], axis=1)
        for t, trait in enumerate(node.columns):
            table = pd.DataFrame({"trait": [trait] * both.shape[2]})
            if not average:
                table.insert(0, "individual", individuals)
            for name, draws in zip(("expected", "change"), both[..., t], strict=True):
                table = table.assign(**summary(draws, levels, name))
            frames.append(table)
    return pd.concat(frames, ignore_index=True)


def _held(
    nodes: list[NodeDescription], omics: Mapping[str, Any], individuals: pd.Index
) -> dict[str, np.ndarray]:
    """Values of nodes that are set, (individual, column), NaN where they are not."""
    held: dict[str, np.ndarray] = {}
    middle = [node for node in nodes if not node.terminal]
    for omic, value in omics.items():
        owners = [node for node in middle if omic in node.columns]
        if not owners:
            known = [column for node in middle for column in node.columns]
            raise InputError(f"{omic!r} is no omic of the fit ({some(known, 8)}).")
        if len(owners) > 1:
            raise InputError(
                f"{omic!r} is in layers {owners[0].layer!r} and {owners[1].layer!r} of the fit; "
                "give their omics different names and fit again."
            )
        node = owners[0]
        empty = np.full((len(individuals), len(node.columns)), np.nan)
        values = held.setdefault(node.name, empty)
        values[:, node.columns.index(omic)] = _by_individual(omic, value, individuals)
    return held


def _by_individual(omic: str, value: Any, individuals: pd.Index) -> Any:
    """One number for all, or those of a Series in the order of the individuals."""
    name = f"omics[{omic!r}]"
    if not isinstance(value, pd.Series):
        return _number(name, value)
    table = read_table(value.to_frame(omic), name=name)
    lacking = individuals[~individuals.isin(table.individuals)]
    if len(lacking):
        raise InputError(
            f"{name} lacks {len(lacking)} of the {len(individuals)} individuals, the first "
            f"{lacking[0]!r}; NaN leaves an individual alone."
        )
    return pd.Series(table.numeric([omic])[:, 0], table.individuals).loc[individuals].to_numpy()


def _number(name: str, value: Any) -> float:
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not number or not np.isfinite(value):
        raise InputError(f"{name} is {value!r}; give one finite number.")
    return float(value)


def _steps(
    genotypes: Mapping[str, Genotypes], markers: Mapping[str, float]
) -> dict[str, tuple[list[str], np.ndarray]]:
    """By layer: markers that are set, and by how much that moves the dosages, (individual, marker).

    A missing call moves from the mean of its marker, as which it counts.
    """
    for marker, dosage in markers.items():
        if not 0 <= _number(f"markers[{marker!r}]", dosage) <= 2:
            raise InputError(f"markers[{marker!r}] is {dosage!r}; a dosage is between 0 and 2.")
        if not any(marker in g.markers for g in genotypes.values()):
            known = next(iter(genotypes.values())).markers
            raise InputError(f"{marker!r} is no marker of the fit ({some(known)}).")
    steps = {}
    for layer, table in genotypes.items():
        chosen = [marker for marker in markers if marker in table.markers]
        if chosen:
            own = table.take_markers(chosen)
            wanted = np.array([markers[marker] for marker in chosen], float)
            steps[layer] = chosen, wanted - own.mean - own.centred()
    return steps


def _with_markers(
    result: xr.DataTree,
    nodes: list[NodeDescription],
    batch: Batch,
    steps: Mapping[str, tuple[list[str], np.ndarray]],
) -> Batch:
    """The batch with the genetic values of the changed dosages."""
    genetic = dict(batch.genetic)
    for node in nodes:
        for name, layer in node.markers.items():
            if layer in steps:
                chosen, step = steps[layer]
                effects = result["effect_draws"].dataset[name]
                effects = effects.sel({effects.dims[2]: chosen}).stack(flat=("chain", "draw"))
                drawn = effects.transpose("flat", ...).to_numpy()[batch.index]
                genetic[name] = genetic[name] + step @ drawn
    return replace(batch, genetic=genetic)

"""Cross-validation: how well networks foresee the phenotypes of individuals they were not told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy.special import logsumexp

from nnmm_pymc.data import Table
from nnmm_pymc.data.names import some
from nnmm_pymc.description import read_description
from nnmm_pymc.elpd import check_imputations, matched_genotypes, trait_columns
from nnmm_pymc.errors import InputError
from nnmm_pymc.folds import split_folds
from nnmm_pymc.level_draws import edge_levels
from nnmm_pymc.merit import merit_draws
from nnmm_pymc.network import Network
from nnmm_pymc.predictive import Cells, predictive

__all__ = ["cross_validate", "summarise_folds"]

#: Columns of a table of folds that are scores.
SCORES = ["ebv_correlation", "correlation", "mse", "slope", "log_density"]

Columns = Mapping[str, tuple[str, int]]


def cross_validate(
    network: Network | Mapping[str, Network],
    cv: int | Any = 5,
    *,
    groups: pd.Series | Mapping[str, Any] | None = None,
    traits: Sequence[str] | None = None,
    mask_omics: bool = False,
    random_seed: int | None = None,
    imputations: int = 100,
    **options: Any,
) -> pd.DataFrame:
    """Withhold phenotypes fold by fold, fit the rest, and score what is predicted for them.

    Folds are of the individuals with a phenotype. Those held out keep their genotypes, covariates
    and, unless `mask_omics`, their omics, in the fit and when they are predicted.

    Parameters
    ----------
    network : Network, or mapping from label to Network
        Networks of the same phenotypes get the same folds.
    cv : int or splitter
        Number of random folds, or an object with scikit-learn's ``split(X, y, groups)``: X has a
        column for each trait, and so has y unless there is one trait.
    groups : Series or mapping, optional
        Group (family, population) of each individual by name. With a number of folds a group is in
        one of them as a whole; a splitter gets them as they are.
    traits : sequence of str, optional
        Columns that are withheld and scored: those that nothing depends on, unless named.
    mask_omics : bool
        Withhold whatever else is modelled too, so that genotypes and covariates alone predict.
    random_seed : int, optional
        Of the random folds; the fits of fold k have the seed ``random_seed + k``.
    imputations : int
        As in `phenotype_log_likelihood`.
    **options
        As in `Network.fit`: draws, tune, chains, ...

    Returns
    -------
    DataFrame
        A row for each fold, label ("network" if none is given) and trait, with n, the phenotypes it
        holds out, and as scores

        - ebv_correlation: of phenotypes with breeding values, what genotypes alone say;
        - correlation, mse, slope: of phenotypes with what is predicted for them from all that is
          known of an individual, the mean squared error of it, and the regression on it (1 is
          ideal, less is inflated);
        - log_density: mean log predictive density of a phenotype, over all posterior draws.

        A correlation or slope is NaN where what is predicted does not vary.

    Raises
    ------
    InputError
        If networks have different phenotypes, a fold has fewer than two phenotypes of a trait, an
        individual has no group, or a fold cannot be fitted.

    Examples
    --------
    >>> import nnmm_pymc as nn
    >>> from nnmm_pymc.crossval import cross_validate, summarise_folds
    >>> data = nn.simulate(n_individuals=60, n_markers=30, n_omics=2, random_seed=1)
    >>> network = nn.Network(
    ...     [
    ...         nn.Layer("geno", data.genotypes),
    ...         nn.Layer("omics", data.omics),
    ...         nn.Layer("pheno", data.phenotypes),
    ...     ],
    ...     ["omics ~ 1 + geno", "y ~ 1 + omics"],
    ... )
    >>> options = {"draws": 100, "tune": 100, "chains": 1, "progressbar": False, "quiet": True}
    >>> folds = cross_validate(network, cv=2, random_seed=1, **options)
    >>> folds["n"].tolist()
    [30, 30]
    >>> summarise_folds(folds)["score"].tolist()
    ['ebv_correlation', 'correlation', 'mse', 'slope', 'log_density']
    """
    check_imputations(imputations)
    if random_seed is not None and (not isinstance(random_seed, int) or random_seed < 0):
        raise InputError(f"random_seed={random_seed!r} must be a whole number of at least 0.")
    networks = dict(network) if isinstance(network, Mapping) else {"network": network}
    phenotypes = _phenotypes(networks, traits)
    rows = []
    for k, (train, test) in enumerate(split_folds(cv, phenotypes, groups, random_seed), start=1):
        hidden = phenotypes.index.difference(train, sort=False)
        seed = None if random_seed is None else random_seed + k
        for label, full in networks.items():
            columns = trait_columns(full.nodes, phenotypes.columns.tolist())
            try:
                part = _withheld(full, hidden, columns, mask_omics)
                cells = _held_out(full, part, test, columns, mask_omics)
                result = part.fit(random_seed=seed, **options)
            except InputError as error:
                raise InputError(f"Fold {k}: {error}") from None
            rng = np.random.default_rng(seed)
            scores = _scores(part, result, test, cells, columns, imputations, rng)
            rows += [{"label": label, "fold": k, **row} for row in scores]
    return pd.DataFrame(rows)


def summarise_folds(folds: pd.DataFrame, base: str | None = None) -> pd.DataFrame:
    """Mean scores over folds, and paired differences between networks.

    Standard errors take folds as independent. They share most of what is fitted, so that the errors
    are somewhat too small (Bengio & Grandvalet 2004, J Mach Learn Res 5:1089).

    Parameters
    ----------
    folds : DataFrame
        From `cross_validate`.
    base : str, optional
        Label of the network from which differences are taken, fold by fold.

    Returns
    -------
    DataFrame
        Columns label, trait, score, mean, se; with a base also difference and difference_se.

    Raises
    ------
    InputError
        If no network has the label `base`.
    """
    long = folds.melt(["label", "trait", "fold"], SCORES, "score", "value")
    keys = ["label", "trait", "score"]
    summary = _mean_and_error(long, keys, ["mean", "se"])
    if base is None:
        return summary
    if base not in set(folds["label"]):
        raise InputError(
            f"No network is called {base!r}; labels are {some(folds['label'].unique(), 8)}."
        )
    other = long.loc[long["label"] == base].drop(columns="label")
    paired = long.merge(other, on=["trait", "fold", "score"], suffixes=("", "_base"))
    paired["value"] -= paired["value_base"]
    return summary.merge(_mean_and_error(paired, keys, ["difference", "difference_se"]), on=keys)


def _mean_and_error(long: pd.DataFrame, keys: list[str], names: list[str]) -> pd.DataFrame:
    groups = long.groupby(keys, sort=False)["value"]
    # Where a fold has no score there is no mean over the folds, rather than one over the others.
    table = pd.DataFrame({names[0]: groups.mean(), names[1]: groups.sem()})
    table[groups.count() < groups.size()] = np.nan
    return table.reset_index()


def _phenotypes(networks: Mapping[str, Network], traits: Sequence[str] | None) -> pd.DataFrame:
    """Phenotypes (individual, trait) of those who have any; the same in all networks."""
    if not networks:
        raise InputError("There is no network to cross-validate.")
    frames = {}
    for label, network in networks.items():
        nodes = {node.name: node for node in network.nodes}
        columns = trait_columns(network.nodes, traits)
        values = {trait: nodes[name].observed[:, k] for trait, (name, k) in columns.items()}
        frame = pd.DataFrame(values, network.individuals).dropna(how="all")
        # Who has no genotypes is in no fold: nobody's breeding value comes without.
        frames[label] = frame[~frame.index.isin(network.alignment.without_genotypes)]
    first = next(iter(frames))
    for label, frame in frames.items():
        if set(frame) != set(frames[first]):
            raise InputError(
                f"Networks {first!r} and {label!r} have the traits {some(frames[first], 8)} and "
                f"{some(frame, 8)}; name those of both with traits=."
            )
        if not frame.sort_index()[list(frames[first])].equals(frames[first].sort_index()):
            raise InputError(
                f"Networks {first!r} and {label!r} do not have the same phenotypes of the same "
                "individuals; give both the same phenotypes, of individuals that all genotype "
                "layers have."
            )
    return frames[first]


def _withheld(network: Network, hidden: pd.Index, columns: Columns, mask_omics: bool) -> Network:
    """The network without what is withheld of these individuals; nothing is read again."""
    tables: dict[str, Any] = dict(network.tables)
    for node in network.nodes:
        of_node = [c for k, c in enumerate(node.columns) if (node.name, k) in columns.values()]
        masked = list(node.columns) if mask_omics else of_node
        table = tables[node.layer]
        if masked and isinstance(table, Table):
            frame = table.frame.copy()
            frame.loc[frame.index.isin(hidden), masked] = np.nan
            tables[node.layer] = replace(table, frame=frame)
    read = tables | network.kinships
    layers = [replace(layer, data=read[layer.name]) for layer in network.layers]
    return Network(layers, network.equations)


def _held_out(
    full: Network, part: Network, test: pd.Index, columns: Columns, mask_omics: bool
) -> Cells:
    """What is known of those held out, and what was withheld of them."""
    cells = Cells.of(full.nodes, columns).take(full.individuals.get_indexer(test))
    given = cells.given
    if mask_omics:
        given = {name: np.full(values.shape, np.nan) for name, values in given.items()}
    return Cells(cells.chosen, given, _designs(full, part, test))


def _designs(full: Network, part: Network, test: pd.Index) -> dict[str, np.ndarray]:
    """Covariates of those held out, from all data but coded as where they were withheld."""
    nodes = {node.name: node for node in full.nodes}
    rows, held = full.individuals.get_indexer(part.individuals), full.individuals.get_indexer(test)
    designs = {}
    for node in part.nodes:
        used = ~np.isnan(node.observed).all(axis=1)
        coded = {c.label: c for c in nodes[node.name].covariates}
        for fitted in node.covariates:
            whole = coded[fitted.label]
            if fitted.levels != whole.levels:
                lost = [level for level in whole.levels if level not in fitted.levels]
                raise InputError(
                    f"nobody outside it has {some(lost)}, so its effect is not known; choose other "
                    f"folds or leave {fitted.label!r} out of {node.equation.formula!r}."
                )
            if not np.allclose(whole.design[rows][used], fitted.design[used]):
                raise InputError(
                    f"{fitted.label!r} of {node.equation.formula!r} depends on who is fitted; fit "
                    "with a column that holds its values."
                )
            designs[f"{node.name}_{fitted.label}"] = whole.design[held]
        random = {edge.label: edge for edge in nodes[node.name].random}
        for edge in node.random:
            levels = edge_levels(random[edge.label], edge.levels)
            designs[f"{node.name}_{edge.label}"] = levels[held]
    return designs


def _scores(
    network: Network,
    result: xr.DataTree,
    test: pd.Index,
    cells: Cells,
    columns: Columns,
    imputations: int,
    rng: np.random.Generator,
) -> list[dict[str, Any]]:
    """Scores of every trait in one fold."""
    nodes = read_description(result)
    nothing = {name: np.full(values.shape, np.nan) for name, values in cells.given.items()}
    genotypes = matched_genotypes(network, result, test)
    found: dict[str, list[list[np.ndarray]]] = {trait: [[], [], []] for trait in columns}
    for batch, merit in merit_draws(result, genotypes, nothing, network.functions, test):
        for trait, (name, k) in columns.items():
            y = np.full(cells.chosen[name].shape, np.nan)
            y[:, k] = cells.chosen[name][:, k]
            alone = replace(cells, chosen={**nothing, name: y})
            means, density = predictive(nodes, batch, alone, imputations, rng, network.functions)
            parts = (merit[name].mean[..., k], means[name][..., k], density)
            for kept, values in zip(found[trait], parts, strict=True):
                kept.append(values)
    rows = []
    for trait, (name, k) in columns.items():
        ebv, predicted, density = map(np.concatenate, found[trait])
        y = cells.chosen[name][:, k]
        log_density = logsumexp(density, axis=0) - np.log(len(density))
        scored = ~np.isnan(y)
        row = _score(y[scored], ebv.mean(axis=0)[scored], predicted.mean(axis=0)[scored])
        rows.append({"trait": trait, **row, "log_density": log_density[scored].mean()})
    return rows


def _score(y: np.ndarray, ebv: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    with np.errstate(all="ignore"):  # what does not vary has no correlation
        covariance = np.cov(y, predicted)
        return {
            "n": len(y),
            "ebv_correlation": float(np.corrcoef(y, ebv)[0, 1]),
            "correlation": float(np.corrcoef(y, predicted)[0, 1]),
            "mse": float(np.mean((y - predicted) ** 2)),
            "slope": float(covariance[0, 1] / covariance[1, 1]),
        }

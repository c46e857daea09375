"""One screen that says whether to believe a fit: its chains, its priors, and its data.

Prior-dominated is a parameter whose posterior is about as wide as its prior and lies where that
lies. Replicates are drawn, from the genotypes and covariates down through all layers, for the cells
that were observed; what is compared is their spread, skewness and the weight of their tails
(Gelman et al. 2013, BDA3, chapter 6).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pymc as pm
import xarray as xr
from pymc.distributions.continuous import FlatRV, HalfFlatRV
from pytensor.graph.traversal import ancestors
from scipy.special import logit

from nnmm_pymc.description import read_description
from nnmm_pymc.diagnose import Diagnosis, judge_chains
from nnmm_pymc.elpd import matched_genotypes
from nnmm_pymc.merit import merit_draws, phenotype_draws
from nnmm_pymc.predictive import Cells

if TYPE_CHECKING:
    from nnmm_pymc.network import Network

__all__ = ["diagnose", "predictive_checks", "prior_dominated"]

# Interquartile range of the posterior over that of the prior; their medians apart, in the latter.
NARROWED, MOVED = 0.9, 0.25
PRIOR_DRAWS = 1000
# Of a variable that is a parameter, not data again.
MOST = 50
# Two-sided, of one column and statistic; a network has dozens.
LEAST_P = 0.005
# Of so many, at most two may lie on one side: of 200, none, which happens to 1 % of sound columns.
REPLICATES = 1000


def _skewness(values: np.ndarray) -> np.ndarray:
    from scipy.stats import skew  # Slow to import.

    return skew(values, axis=-1)


def _tails(values: np.ndarray) -> np.ndarray:
    from scipy.stats import kurtosis

    return kurtosis(values, axis=-1)


STATISTICS = {"spread": lambda v: v.std(axis=-1), "skewness": _skewness, "tails": _tails}


def diagnose(result: xr.DataTree, network: Network | None = None) -> Diagnosis:
    """Say whether to believe a fit, and what to do if not.

    Parameters
    ----------
    result : DataTree
        From `Network.fit` or `sample`.
    network : Network, optional
        That was fitted: then also which parameters the data say little about, and whether every
        layer looks like draws from the fit (a minute for a large network).

    Returns
    -------
    Diagnosis
        Print it.

    References
    ----------
    Vehtari et al. (2021) Bayesian Analysis 16:667, for the limits 1.01 and 100 draws a chain.
    """
    found = judge_chains(result)
    if network is None:
        return found
    problems = list(found.problems)
    if vague := prior_dominated(network, result):
        problems.append(
            f"The data say little about {', '.join(vague)}: the posterior is the prior; say so "
            "where you report them, and see what hangs on it with nnmm_pymc.sensitivity."
        )
    checks = predictive_checks(network, result)
    for column, own in checks[checks["p"] < LEAST_P].groupby("column", sort=False):
        said = ", ".join(
            f"{r.statistic} {r.observed:.3g} (replicates {r.replicated:.3g})"
            for r in own.itertuples()
        )
        problems.append(
            f"{column!r} does not look like draws from the fit: {said}; transform it, look for "
            "outliers, or give its equation another family."
        )
    return replace(found, problems=problems)


def prior_dominated(network: Network, result: xr.DataTree) -> list[str]:
    """Variables of which some element has a posterior like its prior."""
    free, posterior = network.model.free_RVs, result["posterior"].dataset
    flat = {v for v in free if isinstance(v.owner.op, FlatRV | HalfFlatRV)}
    small = [
        v
        for v in free
        if v.name in posterior
        and posterior[v.name][0, 0].size <= MOST
        and not flat & set(ancestors([v]))
    ]
    if not small:
        return []
    drawn = pm.draw(small, PRIOR_DRAWS, random_seed=0, mode="FAST_COMPILE")
    found = []
    for variable, prior in zip(small, drawn, strict=True):
        draws = posterior[variable.name].to_numpy()
        draws = draws.reshape(-1, draws[0, 0].size)
        before, after = _unbounded(prior.reshape(PRIOR_DRAWS, -1), draws)
        low, median, high = np.quantile(before, [0.25, 0.5, 0.75], axis=0)
        now_low, now, now_high = np.quantile(after, [0.25, 0.5, 0.75], axis=0)
        width = high - low
        same = (now_high - now_low > NARROWED * width) & (np.abs(now - median) < MOVED * width)
        if np.any(same & (width > 0.0)):
            found.append(str(variable.name))
    return found


def _unbounded(prior: np.ndarray, posterior: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Draws on a scale without bounds: logarithms of variances, log-odds of probabilities."""
    both = np.concatenate([prior, posterior])
    if both.min() > 0.0:
        function = logit if both.max() < 1.0 else np.log
        return function(prior), function(posterior)
    return prior, posterior


def predictive_checks(network: Network, result: xr.DataTree, random_seed: int = 0) -> pd.DataFrame:
    """Compare every observed column with replicates of it.

    Parameters
    ----------
    network : Network
    result : DataTree
        Its fit.
    random_seed : int

    Returns
    -------
    DataFrame
        Columns node, column, statistic (spread, skewness or tails), observed, replicated (the
        median) and p: twice the smaller share of replicates on one side. Only Gaussian columns are
        compared, and none where rows are records or have weights.
    """
    names = ["node", "column", "statistic", "observed", "replicated", "p"]
    if any(node.records is not None or node.weights is not None for node in network.nodes):
        return pd.DataFrame(columns=names)
    nodes, rng = read_description(result), np.random.default_rng(random_seed)
    genotypes = matched_genotypes(network, result, network.individuals)
    genotyped = ~network.individuals.isin(network.alignment.without_genotypes)
    designs = Cells.of(network.nodes, {}).designs
    replicates: dict[str, list[np.ndarray]] = {node.name: [] for node in nodes}
    draws = merit_draws(result, genotypes, None, network.functions, network.individuals)
    n = len(network.individuals)
    for batch, _ in draws:
        for name, values in phenotype_draws(
            nodes, batch, n, {}, designs, rng, network.functions
        ).items():
            replicates[name].append(values)
    rows = []
    for node in network.nodes:
        if node.equation.family != "gaussian":
            continue
        drawn = np.concatenate(replicates[node.name])
        drawn = drawn[np.linspace(0, len(drawn) - 1, REPLICATES).astype(int)]
        for k, column in enumerate(node.columns):
            seen = ~np.isnan(node.observed[:, k]) & genotyped
            if seen.sum() < 3:
                continue
            for name, statistic in STATISTICS.items():
                own = float(statistic(node.observed[seen, k]))
                other = statistic(drawn[:, seen, k])
                below = np.mean(other < own)
                p = 2.0 * min(below, 1.0 - below)
                rows.append((node.name, column, name, own, float(np.median(other)), p))
    return pd.DataFrame(rows, columns=names)

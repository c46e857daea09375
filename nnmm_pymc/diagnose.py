"""Whether to believe a run, in words."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from typing import Any

import arviz as az
import numpy as np
import pandas as pd
import xarray as xr

__all__ = ["ConvergenceWarning", "Diagnosis", "diagnose", "moment_rhat", "warn_if_doubtful"]

R_HAT_LIMIT = 1.01
ESS_PER_CHAIN = 100
# The worst of hundreds of individuals, from thinned draws.
OUTPUT_R_HAT_LIMIT = 1.05


class ConvergenceWarning(UserWarning):
    """A run that should not be believed as it is."""


@dataclass(frozen=True)
class Diagnosis:
    """R-hat and effective draws of the variables of a run, and what is wrong with it.

    Attributes
    ----------
    table : DataFrame
        One row a variable, by name: its worst R-hat, its fewest effective draws (bulk and tail).
    problems : list of str
        Sentences; empty if the run looks sound.
    note : str
        What of a network with latent nodes is identified.
    """

    table: pd.DataFrame
    problems: list[str]
    note: str = ""

    def __str__(self) -> str:
        verdict = "\n".join(self.problems) or (
            f"No sign against this run: R-hat at most {self.table['r_hat'].max():.3f}, at least "
            f"{self.table['ess_bulk'].min():.0f} effective draws of every variable."
        )
        verdict = f"{self.note}\n{verdict}" if self.note else verdict
        return f"{self.table.to_string(float_format=lambda v: f'{v:.3f}')}\n{verdict}"


def moment_rhat(mean: np.ndarray, variance: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Split R-hat from the moments of half chains (Gelman et al. 2013, BDA3, section 11.4).

    Parameters
    ----------
    mean, variance : (chain, half, ...) arrays
    count : (half,) array
        Draws in each half.

    Returns
    -------
    array
        1 where a variable never moved.
    """
    flat_mean = mean.reshape(-1, *mean.shape[2:])
    within = variance.mean(axis=(0, 1))
    between = flat_mean.var(axis=0, ddof=1)
    n = float(np.min(count))
    with np.errstate(all="ignore"):
        rhat = np.sqrt(((n - 1) / n * within + between) / within)
    # A marker included in one chain only and never varying elsewhere is stuck, not converged.
    return np.where(within > 0, rhat, np.where(between > 0, np.inf, 1.0))


def diagnose(result: xr.DataTree) -> Diagnosis:
    """Check a run: R-hat, effective draws, divergences, tree depth.

    Parameters
    ----------
    result : DataTree
        From `Network.fit` or `sample`.

    Returns
    -------
    Diagnosis
        Print it.

    References
    ----------
    Vehtari et al. (2021) Bayesian Analysis 16:667, for the limits 1.01 and 100 draws a chain.
    """
    posterior = result["posterior"].dataset
    n_chains = posterior.sizes["chain"]
    rows = {}
    for name in sorted(map(str, posterior.data_vars)):  # files do not keep the order
        rows[name] = _row(posterior[name])
    table = pd.DataFrame(rows, index=["r_hat", "ess_bulk", "ess_tail"]).T
    latent, note = _latent_variables(result, table)
    problems = []
    if n_chains < 2:
        problems.append("Only one chain was run, so convergence cannot be judged; use at least 2.")
    else:
        problems += _doubts(table.drop(index=latent), n_chains)
        problems += _output_doubts(result) if latent else []
    problems += _nuts_doubts(result)
    return Diagnosis(table, problems, note)


def _latent_variables(result: xr.DataTree, table: pd.DataFrame) -> tuple[list[str], str]:
    """Variables that are identified up to the order and sign of latent nodes, and a word on it."""
    nodes = json.loads(result.attrs.get("network", "[]"))
    hidden = [node["name"] for node in nodes if node["latent"]]
    if not hidden:
        return [], ""
    own = [n for n in table.index if any(n.startswith(f"{name}_") for name in hidden)]
    for node in nodes:
        own += [p["weights"] for p in node["parents"] if p["node"] in hidden]
        own += [
            f["weights"] for f in node["functions"] if any(a[0] in hidden for a in f["arguments"])
        ]
        # A trait's intercept takes up what the latent nodes' mean leaves.
        own += [f"{node['name']}_Intercept"] if node["name"] not in hidden else []
    note = (
        f"Latent nodes ({', '.join(hidden)}): what is identified is the network's output, the "
        "genetic values of the traits, whose R-hat is judged; effects, weights and intercepts are "
        "not, beyond the order and sign to which the chains were brought."
    )
    return [n for n in dict.fromkeys(own) if n in table.index], note


def _output_doubts(result: xr.DataTree) -> list[str]:
    """R-hat of the genetic values of the traits, where the parameters cannot be judged."""
    if "genetic_values" not in result.children:
        return []
    values = result["genetic_values"].dataset
    worst = {str(n)[:-6]: float(values[n].max()) for n in values if str(n).endswith("_r_hat")}
    bad = [f"{name} ({value:.3f})" for name, value in worst.items() if value > OUTPUT_R_HAT_LIMIT]
    if not bad:
        return []
    return [
        f"Chains disagree on the genetic values of {', '.join(bad)}: R-hat above "
        f"{OUTPUT_R_HAT_LIMIT}; run longer."
    ]


def _row(variable: xr.DataArray) -> list[float]:
    moving = variable.std(dim=("chain", "draw")) > 0
    if not bool(moving.any()):
        return [1.0, np.nan, np.nan]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rhat = az.rhat(variable).where(moving)
        bulk = az.ess(variable, method="bulk").where(moving)
        tail = az.ess(variable, method="tail").where(moving)
    return [float(rhat.max()), float(bulk.min()), float(tail.min())]


def _doubts(table: pd.DataFrame, n_chains: int) -> list[str]:
    problems = []
    bad = table.index[table["r_hat"] > R_HAT_LIMIT]
    if len(bad):
        worst: Any = table["r_hat"].idxmax()
        problems.append(
            f"Chains disagree: R-hat of {', '.join(bad)} is above {R_HAT_LIMIT} (worst {worst}, "
            f"{table['r_hat'].max():.3f}); run longer (more tune and draws) before using them."
        )
    low = table.index[table["ess_bulk"] < ESS_PER_CHAIN * n_chains]
    if len(low):
        least: Any = table["ess_bulk"].idxmin()
        problems.append(
            f"Few effective draws: {', '.join(low)} (least {least}, "
            f"{table['ess_bulk'].min():.0f}, wanted {ESS_PER_CHAIN * n_chains}); draw more."
        )
    return problems


def _nuts_doubts(result: xr.DataTree) -> list[str]:
    if "sample_stats" not in result.children:
        return []
    stats = result["sample_stats"].dataset
    problems = []
    # A model with several trajectories of NUTS has a prefix before the statistics of all but one.
    diverging = [stats[name] for name in stats if str(name).endswith("diverging")]
    full = [stats[name] for name in stats if str(name).endswith("reached_max_treedepth")]
    if n_diverging := sum(int(d.sum()) for d in diverging):
        problems.append(
            f"{n_diverging} draws of NUTS diverged; raise target_accept (0.95) or give the "
            "variances stronger priors."
        )
    if any(float(f.mean()) > 0.01 for f in full):
        problems.append(
            "NUTS reached its largest tree depth in more than 1 % of the draws; tune longer."
        )
    return problems


def warn_if_doubtful(result: xr.DataTree) -> None:
    """Issue one `ConvergenceWarning` with every problem of a run."""
    problems = diagnose(result).problems
    if problems:
        warnings.warn("\n".join(problems), ConvergenceWarning, stacklevel=3)

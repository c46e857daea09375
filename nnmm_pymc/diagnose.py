"""Whether to believe the chains of a run, in words; `nnmm_pymc.screen` adds what the data say."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

__all__ = ["ConvergenceWarning", "Diagnosis", "judge_chains", "moment_rhat", "warn_if_doubtful"]

R_HAT_LIMIT = 1.01
ESS_PER_CHAIN = 100
# The worst of hundreds of individuals, from thinned draws; of thousands of markers, from moments.
OUTPUT_R_HAT_LIMIT, MARKER_R_HAT_LIMIT = 1.05, 1.1
# Markers that are hardly ever included say nothing of mixing.
LEAST_PIP = 0.1
# Betancourt (2016, arXiv:1604.00695): below it momenta are redrawn too timidly for the energies.
LEAST_BFMI = 0.3


class ConvergenceWarning(UserWarning):
    """A run that should not be believed as it is."""


@dataclass(frozen=True)
class Diagnosis:
    """R-hat and effective draws of the variables of a run, and what is wrong with it.

    Attributes
    ----------
    table : DataFrame
        One row a variable, by name: its worst R-hat, its fewest effective draws (bulk and tail).
        Of breeding values and of marker effects kept as moments, R-hat alone.
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


def judge_chains(result: xr.DataTree) -> Diagnosis:
    """Check a run: R-hat, effective draws, divergences, tree depth, energy.

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
        values, markers = _output_rows(result), _marker_rows(result)
        problems += _output_doubts(values, markers if not latent else {})
        outputs = {f"{name} (breeding values)": r for name, r in values.items()}
        outputs |= {f"{name} (markers)": r for name, (r, _) in markers.items()}
        table = pd.concat([table, pd.DataFrame({"r_hat": outputs})])
        note += _modes(table.loc[latent, "r_hat"]) if latent else ""
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


def _modes(r_hat: pd.Series) -> str:
    """What to say of chains that are apart although their latent nodes were aligned."""
    if not r_hat.max() > MARKER_R_HAT_LIMIT:
        return ""
    return (
        f" The chains hold different solutions of them ({r_hat.idxmax()}: R-hat "
        f"{r_hat.max():.2f}), so do not interpret single nodes: take fewer, or tell them apart by "
        "connections."
    )


def _output_rows(result: xr.DataTree) -> dict[str, float]:
    """Worst R-hat of the breeding values of every terminal node."""
    if "genetic_values" not in result.children:
        return {}
    values = result["genetic_values"].dataset
    names = sorted(str(n) for n in values if str(n).endswith("_r_hat"))
    return {name[:-6]: float(values[name].max()) for name in names}


def _marker_rows(result: xr.DataTree) -> dict[str, tuple[float, str]]:
    """Worst R-hat, and whose it is, of the marker effects that are included now and then."""
    if "moments" not in result.children or result["moments"].dataset["count"].min() < 2:
        return {}
    moments, found = result["moments"].dataset, {}
    for name in [str(n)[:-9] for n in moments if str(n).endswith("_included")]:
        pip = moments[f"{name}_included"].mean(("chain", "half"))
        mean, variance = (
            moments[f"{name}_{part}"].transpose("chain", "half", *pip.dims).to_numpy()
            for part in ("mean", "variance")
        )
        r_hat = pip.copy(data=moment_rhat(mean, variance, moments["count"].to_numpy()))
        r_hat = r_hat.where(pip >= LEAST_PIP)
        if r_hat.notnull().any():
            worst = r_hat.isel(r_hat.argmax(...))
            found[name] = float(worst), ", ".join(str(worst[d].item()) for d in pip.dims)
    return found


def _output_doubts(values: dict[str, float], markers: dict[str, tuple[float, str]]) -> list[str]:
    """R-hat of breeding values and of marker effects."""
    problems = []
    bad = [f"{name} ({r:.3f})" for name, r in values.items() if r > OUTPUT_R_HAT_LIMIT]
    if bad:
        problems.append(
            f"Chains disagree on the genetic values of {', '.join(bad)}: R-hat above "
            f"{OUTPUT_R_HAT_LIMIT}; run longer."
        )
    bad = [f"{n} ({at}: {r:.2f})" for n, (r, at) in markers.items() if r > MARKER_R_HAT_LIMIT]
    if bad:
        problems.append(
            f"Chains disagree on single markers of {', '.join(bad)}: R-hat above "
            f"{MARKER_R_HAT_LIMIT}; run longer, or report windows of linked markers, not PIPs."
        )
    return problems


def _row(variable: xr.DataArray) -> list[float]:
    moving = variable.std(dim=("chain", "draw")) > 0
    if not bool(moving.any()):
        return [1.0, np.nan, np.nan]
    import arviz_stats  # Slow to import.

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rhat = arviz_stats.rhat(variable).where(moving)
        bulk = arviz_stats.ess(variable, method="bulk").where(moving)
        tail = arviz_stats.ess(variable, method="tail").where(moving)
    # What cannot be computed from a few draws is not known to be good.
    return [
        float(rhat.max().fillna(np.inf)),
        float(bulk.min().fillna(0.0)),
        float(tail.min().fillna(0.0)),
    ]


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
    energies = [
        stats[name] for name in stats if str(name) == "energy" or str(name).endswith("_energy")
    ]
    if (least := min(map(_bfmi, energies), default=1.0)) < LEAST_BFMI:
        problems.append(
            f"Energies of NUTS hardly change from draw to draw (BFMI {least:.2f}, wanted "
            f"{LEAST_BFMI}): variances have heavy tails; give them stronger priors."
        )
    return problems


def _bfmi(energy: xr.DataArray) -> float:
    """Squared steps of the energy over its variance, of the worst chain."""
    with np.errstate(all="ignore"):
        steps = energy.diff("draw") ** 2
        return float((steps.mean("draw") / energy.var("draw")).fillna(1.0).min())


def warn_if_doubtful(result: xr.DataTree) -> None:
    """Issue one `ConvergenceWarning` with every problem of a run."""
    problems = judge_chains(result).problems
    if problems:
        warnings.warn("\n".join(problems), ConvergenceWarning, stacklevel=3)

"""Binary, ordinal, count and censored traits: posterior against plain PyMC on the same small data.

    python benchmarks/families.py [draws]

The same priors and 150 records in ten herds, sampled by NUTS with the liabilities integrated out
(of counts with the overdispersion as a vector). Wanted: differences of posterior means within 4
Monte Carlo errors, standard deviations within 10 %.
"""

from __future__ import annotations

import sys
from typing import Any

import arviz as az
import numpy as np
import pandas as pd
import pymc as pm

import nnmm_pymc as nn

FAMILIES = {
    "bernoulli": ("binary", {}),
    "ordinal": ("score", {}),
    "poisson": ("count", {}),
    "censored": ("days", {"bounds": ("low", "high")}),
}


def records() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    n = 150
    x, herd = rng.normal(size=n), rng.integers(0, 10, n)
    liability = 0.4 + 0.8 * x + rng.normal(0, 0.7, 10)[herd] + rng.normal(size=n)
    frame = pd.DataFrame({"x": x, "herd": [f"h{k}" for k in herd]}, [f"i{k}" for k in range(n)])
    return frame.assign(
        binary=(liability > 0) * 1.0,
        score=np.digitize(liability, [0.0, 0.7, 1.8]) * 1.0,
        count=rng.poisson(np.exp(0.5 * liability)).astype(float),
        days=np.where(liability < 1, liability, np.nan),
        low=np.where(liability < 1, np.nan, 1.0),
        high=np.nan,
    )


def plain(family: str, own: nn.Network, frame: pd.DataFrame, draws: int) -> Any:
    """Posterior of the same model by NUTS."""
    column = FAMILIES[family][0]
    priors = own.priors[column]
    herd = pd.factorize(frame["herd"], sort=True)[0]
    with pm.Model():

        def prior(term: str, name: str) -> Any:
            own_prior = priors[term]
            numbers = {k: float(np.ravel(v)[0]) for k, v in own_prior.parameters.items()}
            return getattr(pm, own_prior.name)(name, **numbers)

        variance = prior("1|herd", "herd_variance")
        effects = pm.math.sqrt(variance) * pm.Normal("herd", shape=10)
        mean = prior("Intercept", "intercept") + prior("x", "slope") * frame["x"] + effects[herd]
        y = frame[column].to_numpy()
        if family == "bernoulli":
            pm.Bernoulli("y", pm.math.invprobit(mean), observed=y)
        elif family == "ordinal":
            gaps = pm.Exponential("gaps", 1.0, shape=2)
            cuts = pm.math.concatenate([np.zeros(1), pm.math.cumsum(gaps)])
            pm.OrderedProbit("y", eta=mean, cutpoints=cuts, compute_p=False, observed=y.astype(int))
        else:
            sd = pm.math.sqrt(prior("residual_variance", "residual_variance"))
            if family == "poisson":
                mean = mean + sd * pm.Normal("overdispersion", shape=len(y))
                pm.Poisson("y", pm.math.exp(mean), observed=y)
            else:
                known = pm.Normal.dist(mean, sd)
                pm.Censored("y", known, None, 1.0, observed=np.where(np.isnan(y), 1.0, y))
        return pm.sample(
            draws, tune=1000, chains=2, cores=2, random_seed=1, progressbar=False, quiet=True
        )


def main(draws: int) -> None:
    frame = records()
    for family, (column, options) in FAMILIES.items():
        equation = nn.Equation(f"{column} ~ 1 + x + (1|herd)", family=family, **options)
        own = nn.Network(nn.Layer("pheno", frame), equation)
        ours = own.fit(
            draws=4 * draws, tune=500, chains=2, random_seed=1, progressbar=False, quiet=True
        )
        theirs = plain(family, own, frame, draws)
        pairs = {
            f"{column}_Intercept": "intercept",
            f"{column}_x": "slope",
            f"{column}_1|herd_variance": "herd_variance",
            f"{column}_residual_variance": "residual_variance",
            f"{column}_gaps": "gaps",
        }
        for name, other in pairs.items():
            if name not in ours["posterior"] or other not in theirs["posterior"]:
                continue
            a = az.summary(ours, var_names=[name], round_to="none").astype(float)
            b = az.summary(theirs, var_names=[other], round_to="none").astype(float)
            error = np.hypot(a["mcse_mean"].to_numpy(), b["mcse_mean"].to_numpy())
            z = (a["mean"].to_numpy() - b["mean"].to_numpy()) / error
            ratio = a["sd"].to_numpy() / b["sd"].to_numpy()
            print(family, other, "z", z.round(2), "sd ratio", ratio.round(3), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)

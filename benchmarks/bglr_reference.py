"""Posteriors of BRR, BayesC and the Bayesian lasso on 300 wheat markers against long runs of BGLR.

    python benchmarks/bglr_reference.py 5000              # all cases
    python benchmarks/bglr_reference.py 5000 BRR BL       # some: BRR, BayesC_fixpi, BL

Reads ../shared/data/bglr_reference; its README has the exact models. Prints, for each case, the
largest |z| and the mean z^2 of all posterior means against the combined Monte Carlo errors.
"""

from __future__ import annotations

import sys
from pathlib import Path

import arviz as az
import numpy as np
import pandas as pd

import nnmm_pymc as nn

DATA = Path(__file__).parents[2] / "shared" / "data" / "bglr_reference"
CASES = {
    "BRR": nn.RRBLUP(slab_variance=nn.Prior("InverseGamma", alpha=2.5, beta=0.035)),
    "BayesC_fixpi": nn.BayesC(
        inclusion=0.2, slab_variance=nn.Prior("InverseGamma", alpha=2.5, beta=0.175)
    ),
    "BL": nn.BayesL(lambda_squared=25.0**2),
}
NAMES = {
    "mu": "y_Intercept",
    "varE": "y_residual_variance",
    "varB": "y_geno_slab_variance",
}


def network(prior: nn.alphabet.MarkerPrior) -> nn.Network:
    genotypes = pd.read_csv(DATA / "wheat300_X.csv", index_col=0)
    phenotype = pd.read_csv(DATA / "wheat300_y.csv", index_col=0)
    phenotype.columns = ["y"]
    equation = nn.Equation(
        "y ~ 1 + geno",
        priors={
            "geno": prior,
            "Intercept": nn.Prior("Flat"),
            "residual_variance": nn.Prior("InverseGamma", alpha=2.5, beta=1.25),
        },
    )
    return nn.Network([nn.Layer("geno", genotypes), nn.Layer("pheno", phenotype)], [equation])


def fit(prior: nn.alphabet.MarkerPrior, draws: int):
    return network(prior).fit(
        draws=draws,
        tune=1000,
        chains=4,
        random_seed=1,
        progressbar=False,
        quiet=True,
        keep=["y_geno"],
    )


def z_scores(case: str, draws: int) -> pd.Series:
    result = fit(CASES[case], draws)
    effects = result["posterior"]["y_geno"].squeeze("trait")
    included = (effects != 0.0).astype(float)
    reference = pd.read_csv(DATA / f"ref_{case}_markers.csv", index_col=0)
    reference.index = reference.index.astype(str)
    markers = effects["marker"].to_numpy().astype(str)
    reference = reference.loc[markers]
    z = {}
    for ours, mean, mcse in ((effects, "mean", "mcse"), (included, "pip", "pip_mcse")):
        if mean not in reference or reference[mean].std() == 0:
            continue
        error = np.hypot(az.mcse(ours, method="mean").to_numpy(), reference[mcse])
        difference = ours.mean(("chain", "draw")).to_numpy() - reference[mean]
        z |= dict(zip(mean + " " + markers, difference / error, strict=True))
    parameters = pd.read_csv(DATA / f"ref_{case}_params.csv", index_col=0)
    for theirs, name in NAMES.items():
        if theirs in parameters.index and name in result["posterior"]:
            draw = result["posterior"][name]
            error = np.hypot(az.mcse(draw, method="mean").item(), parameters.loc[theirs, "mcse"])
            z[theirs] = (float(draw.mean()) - parameters.loc[theirs, "mean"]) / error
    return pd.Series(z)


if __name__ == "__main__":
    draws = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    for case in sys.argv[2:] or CASES:
        z = z_scores(case, draws)
        shown = ", ".join(f"{k} {z[k]:.2f}" for k in NAMES if k in z)
        print(
            f"{case}: {len(z)} means, largest |z| {z.abs().max():.2f}, mean z^2 "
            f"{(z**2).mean():.2f} ({shown})",
            flush=True,
        )

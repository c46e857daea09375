"""Accuracy on the data of Zhao et al. (2022), Genetics iyac034, Part 3, against the published.

    python benchmarks/zhao2022.py individuals BayesC 1 2 3
    python benchmarks/zhao2022.py cells BayesC 1 2 3 --draws 6000

The arguments say what is missing, the prior of the markers, and which replicates to run.
Rows 956-1055 are the test set: their phenotypes are withheld, their omics observed as in the files.
Reads ../shared/data/zhao2022_part3; see its README for the origin.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd

import nnmm_pymc as nn

DATA = Path(__file__).parents[2] / "shared" / "data" / "zhao2022_part3"
N_TRAIN = 955
PRIORS = {
    "RRBLUP": nn.RRBLUP(),
    "BayesA": nn.BayesA(),
    "BayesB": nn.BayesB(),
    "BayesC": nn.BayesC(),
    "BayesL": nn.BayesL(),
    "BayesR": nn.BayesR(),
    # Few markers have effects: by default it does not converge in these draws.
    "BayesR sparse": nn.BayesR(
        class_probabilities=nn.Prior("Dirichlet", a=[96.0, 3.86, 2.43, 1.71])
    ),
    "GBLUP": nn.GBLUP(),
    "Horseshoe": nn.Horseshoe(),
}


def omics_of(pattern: str, replicate: int) -> pd.DataFrame:
    if pattern == "cells":
        name = f"omics_partialmissing.pct0.5.rep{replicate}.csv"
        return pd.read_csv(DATA / "missing_cells" / name, index_col=0)
    omics = pd.read_csv(DATA / "omics.csv", index_col=0)
    rows = np.loadtxt(DATA / "missing_individuals" / f"missingIndex.pct0.5.rep{replicate}.txt")
    omics.iloc[rows.astype(int) - 1] = np.nan
    return omics


def run(
    pattern: str, prior: str, replicate: int, draws: int = 6000, tune: int = 1000
) -> dict[str, float]:
    phenotypes = pd.read_csv(DATA / "y.csv", index_col=0)
    phenotypes.iloc[N_TRAIN:] = np.nan
    network = nn.Network(
        [
            nn.Layer("geno", nn.read_genotypes(DATA / "genotypes.csv")),
            nn.Layer("omics", omics_of(pattern, replicate)),
            nn.Layer("pheno", phenotypes),
        ],
        [nn.Equation("omics ~ 1 + geno", priors={"geno": PRIORS[prior]}), "y ~ 1 + omics"],
    )
    start = time.perf_counter()
    fit = network.fit(draws=draws, tune=tune, chains=2, random_seed=replicate, progressbar=False)
    seconds = time.perf_counter() - start
    table = nn.breeding_values(fit)
    ebv = table[table["trait"] == "y"].set_index("individual")["ebv"]
    truth = pd.Series(np.loadtxt(DATA / "bv.txt"), index=phenotypes.index.astype(str))
    test = truth.index[N_TRAIN:]
    checked = nn.diagnose(fit).table["r_hat"]
    shown = checked.index.str.contains("variance") | (checked.index == "y_omics")
    return {
        "replicate": replicate,
        "accuracy": np.corrcoef(ebv[test], truth[test])[0, 1],
        "seconds": seconds,
        "r_hat weights, variances": checked[shown].max(),
        "r_hat all": checked.max(),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("pattern", choices=["individuals", "cells"])
    parser.add_argument("prior", choices=PRIORS)
    parser.add_argument("replicates", type=int, nargs="+")
    parser.add_argument("--draws", type=int, default=6000)
    given = parser.parse_args()
    rows = pd.DataFrame(
        [run(given.pattern, given.prior, r, draws=given.draws) for r in given.replicates]
    )
    print(rows.to_string(index=False, float_format=lambda v: f"{v:.4f}"))
    print(f"{given.pattern}, {given.prior}: mean accuracy {rows['accuracy'].mean():.4f}")

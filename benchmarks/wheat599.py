"""Ten-fold cross-validation on the 599 wheat lines of BGLR, against BGLR on the same folds.

    python benchmarks/wheat599.py RRBLUP BayesC

Prints the correlation of breeding value and withheld yield within a fold, averaged over the folds
and over two seeds. The four environments are the columns of one equation; each has its own
variances, so this is the same model as four fits. The Monte Carlo error is half the difference
between the seeds. Reads ../shared/data/wheat599.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

import nnmm_pymc as nn

DATA = Path(__file__).parents[2] / "shared" / "data" / "wheat599"
# Each prior with the one that is nearest to it among those of BGLR: BRR or BayesC.
PRIORS = {
    "RRBLUP": (nn.RRBLUP(), "BRR"),
    "BayesA": (nn.BayesA(), "BRR"),
    "BayesL": (nn.BayesL(), "BRR"),
    "BayesB": (nn.BayesB(), "BayesC"),
    "BayesC": (nn.BayesC(), "BayesC"),
    "BayesR": (nn.BayesR(), "BayesC"),
    "GBLUP": (nn.GBLUP(), "BRR"),
}


def read() -> tuple[nn.Genotypes, pd.DataFrame, pd.Series]:
    """Genotypes, yields by environment, and the fold of every line."""
    wheat = np.load(DATA / "wheat.npz")
    dosages = pd.DataFrame(wheat["X"], index=wheat["ids"], columns=wheat["markers"])
    yields = pd.DataFrame(wheat["Y"], index=wheat["ids"]).set_axis(["Y1", "Y2", "Y3", "Y4"], axis=1)
    folds = pd.read_csv(DATA / "wheat_cv_folds.csv", dtype={"id": str}, index_col="id")["fold"]
    return nn.read_genotypes(dosages), yields, folds.loc[yields.index]


def fold_correlations(name: str, fold: int, seed: int, draws: int = 2000) -> pd.Series:
    """Correlation of breeding value and yield in one withheld fold, by environment."""
    genotypes, yields, folds = read()
    test = folds.index[folds == fold]
    network = nn.Network(
        [nn.Layer("geno", genotypes), nn.Layer("yields", yields.drop(index=test))],
        [nn.Equation("yields ~ 1 + geno", priors={"geno": PRIORS[name][0]})],
    )
    fit = network.fit(
        draws=draws, tune=1000, chains=2, random_seed=seed, progressbar=False, quiet=True
    )
    ebv = nn.breeding_values(fit).pivot(index="individual", columns="trait", values="ebv")
    return ebv.loc[test].corrwith(yields.loc[test])


def cross_validate(name: str) -> pd.DataFrame:
    """Mean correlation by environment, beside that of BGLR."""
    bglr = pd.read_csv(DATA / f"wheat_cv_foldcor_BGLR_{PRIORS[name][1]}.csv", index_col="fold")
    first, second = (
        pd.DataFrame([fold_correlations(name, fold, seed) for fold in bglr.index]).mean()
        for seed in (1, 2)
    )
    table = pd.DataFrame({"correlation": (first + second) / 2, "BGLR": bglr.mean()})
    table["difference"] = table["correlation"] - table["BGLR"]
    table["Monte Carlo error"] = (first - second).abs() / 2
    return table


if __name__ == "__main__":
    for name in sys.argv[1:]:
        start = time.perf_counter()
        table = cross_validate(name)
        seconds = time.perf_counter() - start
        print(f"{name} against {PRIORS[name][1]} of BGLR, {seconds:.0f} s")
        print(table.to_string(float_format=lambda v: f"{v:.4f}"), flush=True)

"""BayesC with and without marker annotations, cross-validated on the simulation that JWAS ships.

    python benchmarks/annotations.py [repetitions of the 5 folds]

The inclusion probability is a probit regression on two annotations, in plain PyMC: "functional"
marks exactly the ten causal markers, "random_anno" ten others. Prints the correlation of breeding
value and withheld phenotype by repetition and overall; then means over all fits of the share of the
inclusion probabilities that is on causal markers, of the R-hat of the slab variance, of seconds,
and of the coefficients of the annotations with their posterior sd. Reads
../shared/data/jwas_simulated_annotations.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pymc as pm

import nnmm_pymc as nn

DATA = Path(__file__).parents[2] / "shared" / "data" / "jwas_simulated_annotations"
N_FOLDS = 5
COEFFICIENTS = "y1_geno_inclusion_coefficients"


def read(name: str) -> pd.DataFrame:
    return pd.read_csv(DATA / f"{name}.csv", index_col=0)


def annotated(annotations: pd.DataFrame):
    """Inclusion probabilities from annotations, whose rows are in the order of the markers.

    Without annotation 1 % of the markers have an effect at the prior median, and 5 % in the mean.
    """

    def inclusion(name, dims):
        pm.modelcontext(None).add_coord("annotation", list(annotations.columns))
        baseline = pm.Normal(f"{name}_baseline", -2.33, 1)
        coefficients = pm.Normal(f"{name}_coefficients", 0, 1, dims="annotation")
        probit = baseline + annotations.to_numpy(float) @ coefficients
        return pm.math.invprobit(probit)[:, None]

    return inclusion


def priors(genotypes: nn.Genotypes, y: pd.Series) -> dict[str, nn.BayesC]:
    """The default; one whose slab takes half the variance with 5 % of the markers; annotated."""
    variance = 0.5 * y.var() / (0.05 * genotypes.sum2pq)
    sparse = nn.Prior("InverseGamma", alpha=2.5, beta=1.5 * float(variance))
    annotations = read("annotations").loc[genotypes.markers]
    return {
        "BayesC()": nn.BayesC(),
        "BayesC, sparse": nn.BayesC(slab_variance=sparse),
        "annotated": nn.BayesC(inclusion=annotated(annotations), slab_variance=sparse),
    }


def run(repetition: int, fold: int, draws: int = 2000) -> pd.DataFrame:
    """Withhold one fold and fit every prior."""
    genotypes, y = nn.read_genotypes(DATA / "genotypes.csv"), read("phenotypes")["y1"]
    order = np.random.default_rng(repetition).permutation(len(y))
    test = y.index[order[fold::N_FOLDS]]
    train = y.drop(test)
    rows = []
    for label, prior in priors(genotypes, train).items():
        network = nn.Network(
            [nn.Layer("geno", genotypes), nn.Layer("pheno", train.to_frame())],
            [nn.Equation("y1 ~ 1 + geno", priors={"geno": prior})],
        )
        start = time.perf_counter()
        fit = network.fit(
            draws=draws, tune=1000, chains=2, random_seed=fold, progressbar=False, quiet=True
        )
        seconds = time.perf_counter() - start
        ebv = nn.breeding_values(fit).set_index("individual")["ebv"]
        correlation = np.corrcoef(ebv[test], y[test])[0, 1]
        row = {"prior": label, "repetition": repetition, "correlation": correlation}
        rows.append(row | {"seconds": seconds} | what_was_learned(fit))
    return pd.DataFrame(rows)


def what_was_learned(fit) -> dict[str, float]:
    """Where the inclusion probabilities are, whether chains agree, coefficients of annotations."""
    pip = nn.marker_effects(fit).set_index("marker")["pip"]
    causal = read("truth").loc[pip.index, "is_causal"]
    learned = {
        "pip on causal": pip[causal].sum() / pip.sum(),
        "slab r_hat": nn.diagnose(fit).table.loc["y1_geno_slab_variance", "r_hat"],
    }
    if COEFFICIENTS in fit["posterior"]:
        for annotation, values in fit["posterior"][COEFFICIENTS].groupby("annotation"):
            learned |= {annotation: float(values.mean()), f"{annotation} sd": float(values.std())}
    return learned


if __name__ == "__main__":
    repetitions = range(1, 1 + int(sys.argv[1] if len(sys.argv) > 1 else 4))
    rows = pd.concat(
        [run(repetition, fold) for repetition in repetitions for fold in range(N_FOLDS)]
    )
    correlations = rows.pivot_table("correlation", "repetition", "prior", sort=False)
    correlations.loc["mean"] = correlations.mean()
    means = rows.groupby("prior", sort=False).mean().drop(columns=["repetition", "correlation"])
    for table in (correlations, means):
        print(table.to_string(float_format=lambda v: f"{v:.4f}"))

"""Two traits together against each alone: a scarce trait, and the two-trait simulation of JWAS.

    python benchmarks/multi_trait.py scarce [data sets]
    python benchmarks/multi_trait.py jwas [repetitions of the 5 folds] [models]

"scarce": genetic correlation 0.6, residual correlation 0.3, heritability 0.5, 900 individuals, of
which 300 have the second trait. Prints its accuracy (correlation of breeding and genetic value)
among the others by the joint and the single-trait model, and the 90 % interval of the genetic
correlation. Wanted: the joint model more accurate, the truth in its interval.

"jwas": correlation of breeding value and withheld phenotype of both traits, over all folds and as
the mean over folds; with the "annotated" model pattern probabilities depend on four annotations
through three probit regressions. Wanted: 0.64 (published, on other folds: 0.640 to 0.652). Reads
../shared/data/jwas_simulated_annotations.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pymc as pm
import pytensor.tensor as pt

import nnmm_pymc as nn

DATA = Path(__file__).parents[2] / "shared" / "data" / "jwas_simulated_annotations"
RUN = {"chains": 1, "cores": 1, "progressbar": False, "quiet": True}
CORRELATION = 0.6


def fitted(genotypes: Any, traits: pd.DataFrame, prior: Any, seed: int, **options: Any) -> Any:
    """Result and breeding values, (individual, trait)."""
    residual = options.pop("residual", "correlated")
    equation = nn.Equation("pheno ~ 1 + geno", priors={"geno": prior}, residual=residual)
    network = nn.Network([nn.Layer("geno", genotypes), nn.Layer("pheno", traits)], equation)
    result = network.fit(random_seed=seed, **RUN, **options)
    table = nn.breeding_values(result).pivot(index="individual", columns="trait", values="ebv")
    return result, table


def scarce_data(seed: int) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """Genotypes, traits, and genetic values with exactly the correlation that is wanted."""
    rng = np.random.default_rng(seed)
    population = nn.simulate(n_individuals=900, n_markers=1000, n_omics=1, random_seed=seed)
    genotypes = population.genotypes
    dosages = np.asarray(genotypes, float)
    causal = rng.choice(dosages.shape[1], 100, replace=False)
    value = (dosages - dosages.mean(axis=0))[:, causal] @ rng.normal(size=(100, 2))
    value = np.linalg.solve(np.linalg.cholesky(np.cov(value.T)), value.T).T
    genetic, residual = np.array([[1, CORRELATION], [CORRELATION, 1]]), [[1, 0.3], [0.3, 1]]
    value = np.sqrt(0.5) * value @ np.linalg.cholesky(genetic).T
    noise = rng.multivariate_normal(np.zeros(2), residual, len(value))
    traits = pd.DataFrame(value + np.sqrt(0.5) * noise, genotypes.index, ["y1", "y2"])
    traits.iloc[300:, 1] = np.nan
    return genotypes, traits, value


def scarce(n_sets: int) -> None:
    options = {"draws": 2000, "tune": 1000}
    for seed in range(1, n_sets + 1):
        genotypes, traits, value = scarce_data(seed)
        start = time.perf_counter()
        result, joint = fitted(genotypes, traits, nn.JointBayesC(), seed, **options)
        middle = time.perf_counter()
        _, alone = fitted(
            genotypes, traits[["y2"]].dropna(), nn.BayesC(), seed, residual="independent", **options
        )
        seconds = middle - start, time.perf_counter() - middle
        accuracy = [
            np.corrcoef(table.loc[genotypes.index[300:], "y2"], value[300:, 1])[0, 1]
            for table in (joint, alone)
        ]
        found = nn.trait_correlations(result).set_index("component")
        print(
            f"data set {seed}: accuracy {accuracy[0]:.3f}, alone {accuracy[1]:.3f};",
            *(
                f"{c} {found.loc[c, 'mean']:.2f} ({found.loc[c, 'lower']:.2f} to "
                f"{found.loc[c, 'upper']:.2f});"
                for c in ("genetic", "residual")
            ),
            f"{seconds[0]:.0f} s and {seconds[1]:.0f} s",
            flush=True,
        )


def annotated(annotations: np.ndarray) -> nn.JointBayesC:
    """Active or not; if so both traits or one; if one, which: a probit regression for each."""

    def probabilities(name: str) -> Any:
        start = pm.Normal(f"{name}_start", [-1.6, 0.0, 0.0], 1.0, shape=3)
        slopes = pm.Normal(f"{name}_slopes", 0.0, 1.0, shape=(annotations.shape[1], 3))
        chances = pm.math.invprobit(start + annotations @ slopes)
        active, both, first = (chances[:, k] for k in range(3))
        one = active * (1.0 - both)
        return pt.stack([1.0 - active, one * first, one * (1.0 - first), active * both], axis=1)

    return nn.JointBayesC(pattern_probabilities=probabilities)


def jwas(repetitions: int, models: list[str]) -> None:
    genotypes, traits, notes = (
        pd.read_csv(DATA / f"{name}.csv", index_col=0)
        for name in ("genotypes", "phenotypes_mt", "annotations_mt")
    )
    priors = {
        "joint": nn.JointBayesC(),
        "annotated": annotated(notes.loc[genotypes.columns].to_numpy()),
        "single": nn.BayesC(),
    }
    for repetition in range(repetitions):
        fold = np.random.default_rng(repetition).permutation(np.arange(len(traits)) % 5)
        for name in models:
            start, found = time.perf_counter(), pd.DataFrame(np.nan, traits.index, traits.columns)
            residual = "independent" if name == "single" else "correlated"
            for k in range(5):
                seen = traits[fold != k]
                options = {"draws": 1500, "tune": 1500, "residual": residual}
                _, table = fitted(genotypes, seen, priors[name], k, **options)
                found[fold == k] = table.loc[traits.index[fold == k], traits.columns]
            over_all = [found[c].corr(traits[c]) for c in traits]
            by_fold = [
                np.mean([found[c][fold == k].corr(traits[c][fold == k]) for k in range(5)])
                for c in traits
            ]
            print(
                f"repetition {repetition}, {name}: over all {np.round(over_all, 4)}, mean "
                f"{np.mean(over_all):.4f}; by fold {np.round(by_fold, 4)}, mean "
                f"{np.mean(by_fold):.4f}; {time.perf_counter() - start:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    if sys.argv[1] == "scarce":
        scarce(int(sys.argv[2]) if len(sys.argv) > 2 else 5)
    else:
        known = sys.argv[3:] or ["joint", "annotated", "single"]
        jwas(int(sys.argv[2]) if len(sys.argv) > 2 else 1, known)

"""Effective draws a second on 300 wheat markers, against BGLR.

    python benchmarks/mixing.py [iterations]

BGLR's effective draws are those of its stored runs (../shared/data/bglr_reference, 200,000
iterations): the variance of a parameter over the square of the Monte Carlo error of its mean. Its
time is taken to be that of the sweep of `sweep.c` alone, a plain C program with float32 products
on the same data: BGLR itself, with products in double precision and the rest of its iteration, is
slower. Ours is the whole iteration through the steps of `Network.fit`.
"""

from __future__ import annotations

import sys

import arviz as az
import numpy as np
import pandas as pd
from bglr_reference import CASES, DATA, network
from speed import Chain, Sweeps
from threadpoolctl import threadpool_limits

THEIRS = 200_000
NAMES = {
    "varB": "y_geno_slab_variance",
    "varE": "y_residual_variance",
    "varG": "y_geno_value",
    "nIn": "y_geno",
}


def sweep_of_c(inclusion: float) -> float:
    """CPU seconds of a sweep of the C program on genotypes of this size."""
    once = Sweeps(599, 300, 1, inclusion).plain()
    for _ in range(200):
        once()
    return float(np.median([once() for _ in range(200)]))


def run(case: str, iterations: int) -> None:
    built = network(CASES[case])
    chain = Chain(built, 1000, iterations, keep=["y_geno", "y_geno_value"])
    theirs = pd.read_csv(DATA / f"ref_{case}_params.csv", index_col=0)
    seconds = sweep_of_c(0.2 if case == "BayesC_fixpi" else 0.999)
    shown = []
    for name, own in NAMES.items():
        if name not in theirs.index or own not in chain.chain.stored:
            continue
        draws = np.asarray(chain.chain.stored[own]).reshape(iterations, -1)
        if name == "varG":
            draws = draws.var(axis=1)
        elif name == "nIn":
            draws = (draws != 0.0).sum(axis=1)
        ours = float(az.ess(draws.reshape(1, -1), method="mean")) / iterations
        bglr = (theirs.loc[name, "sd"] / theirs.loc[name, "mcse"]) ** 2 / THEIRS
        ratio = ours / chain.cpu / (bglr / seconds)
        shown.append(f"{name} {ours:.4f} against {bglr:.4f}, {ratio:.2f} times a CPU second")
    print(
        f"{case}: {1e6 * chain.cpu:.0f} us an iteration, sweep of C {1e6 * seconds:.0f} us; "
        f"effective draws an iteration {'; '.join(shown)}",
        flush=True,
    )


if __name__ == "__main__":
    with threadpool_limits(1):
        for case in CASES:
            run(case, int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)

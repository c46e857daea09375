"""Do 90 % intervals of the weights cover the truth? Ten simulated tanh networks.

    python benchmarks/weight_coverage.py [number of simulations]

n = 1,500, p = 1,000, 5 omics, 40 % of the cells missing.
"""

from __future__ import annotations

import sys

import numpy as np

import nnmm_pymc as nn


def covered(seed: int) -> tuple[int, float]:
    """Weights of one simulation whose interval holds the truth, and the worst R-hat of weights."""
    data = nn.simulate(
        1500, 1000, 5, activation="tanh", missing="cells", missing_fraction=0.4, random_seed=seed
    )
    network = nn.Network(
        [
            nn.Layer("geno", data.genotypes),
            nn.Layer("omics", data.omics),
            nn.Layer("pheno", data.phenotypes),
        ],
        [nn.Equation("omics ~ 1 + geno", priors={"geno": nn.BayesC()}), "y ~ 1 + tanh(omics)"],
    )
    fit = network.fit(
        draws=1000, tune=500, chains=2, random_seed=seed, progressbar=False, quiet=True
    )
    weights = fit["posterior"]["y_omics"]
    low, high = (weights.quantile(q, ("chain", "draw")).to_numpy() for q in (0.05, 0.95))
    truth = data.weights.to_numpy()
    return int(np.sum((low <= truth) & (truth <= high))), nn.diagnose(fit).table.r_hat["y_omics"]


if __name__ == "__main__":
    n_simulations = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    total = 0
    for seed in range(1, n_simulations + 1):
        hits, rhat = covered(seed)
        total += hits
        print(f"simulation {seed}: {hits} of 5 covered, R-hat of weights {rhat:.3f}", flush=True)
    print(f"{total} of {5 * n_simulations} weights covered")

"""Do 90 % intervals cover the truth? Every type of network, activation and missing pattern.

    python benchmarks/interval_coverage.py [simulations] [combination ...]

Each simulation has 150 individuals, 30 markers and 10 omics, so 20 simulations give 200 weights of
each combination (of root_ratio two omics: 200 parameters take 200 simulations). Printed are the
shares covered of the weights, of all residual variances, and of the genetic values of omics and
trait (interval: mean -+ 1.645 sd). Wanted: 0.85 to 0.95 of each. With all omics missing weights and
scales of the omics are not identified, and only the trait is compared.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict

import numpy as np
import pandas as pd

import nnmm_pymc as nn

ACTIVATIONS = ("identity", "tanh", "sigmoid", "relu", "leaky_relu")
MISSING = (None, "individuals", "cells", "all")
COMBINATIONS = [
    f"{kind} {activation} {missing or 'none'}"
    for kind in ("full", "partial", "direct")
    for missing in MISSING
    for activation in ACTIVATIONS
]


def network_of(combination: str, seed: int) -> tuple[nn.Network, nn.Simulation]:
    """A simulation and the network that made it."""
    kind, activation, missing = combination.split()
    n_omics = 3 if missing == "all" else 10
    data = nn.simulate(
        150,
        30,
        n_omics,
        activation=activation,
        omic_h2=0.5,
        network_r2=0.6,
        direct_r2=0.2 if kind == "direct" else 0.0,
        n_causal=1.0,
        n_direct=1.0,
        connections=n_omics if kind == "partial" else None,
        missing=None if missing == "none" else missing,
        missing_fraction=0.3,
        random_seed=seed,
    )
    first = nn.Equation(
        "omics ~ 1 + geno", priors={"geno": nn.RRBLUP()}, connections=data.connections
    )
    term = "omics" if activation == "identity" else f"{activation}(omics)"
    direct = " + geno" if kind == "direct" else ""
    layers = [
        nn.Layer("geno", data.genotypes),
        nn.Layer("omics", data.omics),
        nn.Layer("pheno", data.phenotypes),
    ]
    return nn.Network(layers, [first, f"y ~ 1 + {term}{direct}"]), data


def hits(low: object, high: object, truth: object) -> list[bool]:
    return list(np.ravel((np.asarray(low) <= truth) & (np.asarray(truth) <= high)))


def covered(combination: str, seed: int) -> dict[str, list[bool]]:
    """Which intervals of one simulation hold the truth."""
    network, data = network_of(combination, seed)
    latent = combination.endswith(" all")
    fit = network.fit(
        draws=2000 if latent else 600,
        tune=1000 if latent else 400,
        chains=1,
        random_seed=seed,
        progressbar=False,
        quiet=True,
    )
    posterior = fit["posterior"].dataset
    found = defaultdict(list)
    pairs = {"y_residual_variance": data.residual_variance}
    if not latent:
        pairs["omics_residual_variance"] = data.omic_residual_variance
        pairs["y_omics"] = data.weights
    for name, truth in pairs.items():
        low, high = (posterior[name].quantile(q, ("chain", "draw")) for q in (0.05, 0.95))
        group = "weights" if name == "y_omics" else "variances"
        found[group] += hits(low, high, truth.to_numpy().reshape(low.shape))
    table = nn.breeding_values(fit)
    truth = pd.concat([data.breeding_values, data.omic_genetic_values + data.omic_means], axis=1)
    for trait, own in table.groupby("trait"):
        if trait == "y" or not latent:
            wanted = truth.loc[own["individual"], trait].to_numpy()
            away = 1.645 * own["sd"]
            found["genetic values"] += hits(own["ebv"] - away, own["ebv"] + away, wanted)
    return found


def main(simulations: int, chosen: list[str]) -> None:
    for combination in COMBINATIONS:
        if chosen and not any(c in combination for c in chosen):
            continue
        start, total = time.process_time(), defaultdict(list)
        for seed in range(simulations):
            for group, values in covered(combination, seed).items():
                total[group] += values
        shares = "  ".join(f"{g} {np.mean(v):.3f} ({len(v)})" for g, v in total.items())
        print(f"{combination:<28} {shares}  {time.process_time() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20, sys.argv[2:])

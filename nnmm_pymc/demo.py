"""The demonstration: simulate a population, fit it, and compare the estimates with the truth."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from nnmm_pymc.alphabet import BayesC
from nnmm_pymc.formula import Equation
from nnmm_pymc.network import Layer, Network
from nnmm_pymc.simulation import Simulation, simulate
from nnmm_pymc.summarise import breeding_values, marker_effects, weights

__all__ = ["run_demo"]

#: Individuals whose phenotypes are withheld.
WITHHELD = 100


def run_demo(draws: int = 6000, chains: int = 2, *, random_seed: int = 1) -> xr.DataTree:
    """Fit 600 simulated individuals (500 markers, 5 omics, a trait) and print estimates and truth.

    Parameters
    ----------
    draws, chains : int
        As in `Network.fit`.
    random_seed : int
        Of the data and the fit.

    Returns
    -------
    xarray.DataTree
        From `Network.fit`.

    Examples
    --------
    >>> from nnmm_pymc.demo import run_demo
    >>> result = run_demo()  # doctest: +SKIP
    """
    data = simulate(600, 500, 5, activation="tanh", missing="cells", random_seed=random_seed)
    print(f"{data!r}; the phenotypes of the last {WITHHELD} individuals are withheld.")
    phenotypes = data.phenotypes.copy()
    phenotypes.iloc[-WITHHELD:] = np.nan
    network = Network(
        [
            Layer("geno", data.genotypes),
            Layer("omics", data.omics),
            Layer("pheno", phenotypes),
        ],
        [Equation("omics ~ 1 + geno", priors={"geno": BayesC()}), "y ~ 1 + tanh(omics)"],
    )
    print("Sampling (the first time compiles for some seconds):", flush=True)
    result = network.fit(draws=draws, tune=500, chains=chains, random_seed=random_seed)
    _print_truth(result, data)
    return result


def _print_truth(result: xr.DataTree, data: Simulation) -> None:
    """What was estimated beside what the data were simulated with."""
    ebv = breeding_values(result).query("trait == 'y'").set_index("individual")["ebv"]
    true = data.breeding_values["y"].loc[ebv.index]
    accuracy = pd.DataFrame(
        {
            "individuals": [len(ebv) - WITHHELD, WITHHELD],
            "accuracy": [
                np.corrcoef(ebv.iloc[part], true.iloc[part])[0, 1]
                for part in (slice(-WITHHELD), slice(-WITHHELD, None))
            ],
        },
        index=["training", "withheld"],
    )
    _print_table("Breeding values (accuracy: correlation with the true ones)", accuracy)
    effects = marker_effects(result).sort_values("mean", key=abs, ascending=False).head(10)
    truth = pd.Series(data.marker_effects.stack(), name="true")
    effects = effects.join(truth, on=["marker", "trait"])
    _print_table("Largest marker effects", effects.set_index("marker"))
    estimated = weights(result).set_index("omic")
    estimated["true"] = data.weights["y"]
    _print_table("Weights of the omics", estimated)


def _print_table(title: str, table: pd.DataFrame) -> None:
    print(f"\n{title}:\n{table.to_string(float_format=lambda v: f'{v:.3f}')}")

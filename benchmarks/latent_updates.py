"""Do the updates of missing omics agree? NUTS, Hamiltonian moves of individuals, exact draws.

    python benchmarks/latent_updates.py [--draws 4000] [ACTIVATION ...]

One data set for each activation: 60 individuals, 3 omics, of which a quarter of the individuals and
a fifth of the other cells are missing, and 2 traits. It is fitted with `latent="nuts"`, "hmc" and,
where the activation is the identity, "gibbs". Compared are posterior means and standard deviations
of weights, residual variances and missing cells: z is a difference over its Monte Carlo standard
error. Wanted: abs(z) < 4 and a mean z^2 near 1 (the cells of one individual, and means and standard
deviations of skewed parameters, go together, so that it varies more than by their number).
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import arviz as az
import numpy as np
import xarray as xr

import nnmm_pymc as nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from small_models import INTERCEPT, MARKERS, VARIANCE

ACTIVATIONS = ("identity", "tanh", "sigmoid", "relu", "leaky_relu")
COMPARED = ("pheno_omics", "pheno_residual_variance", "omics_residual_variance", "omics_missing")


def network(activation: str) -> nn.Network:
    data = nn.simulate(
        60, 20, 3, n_traits=2, activation=activation, missing="individuals", missing_fraction=0.25,
        random_seed=1,
    )  # fmt: skip
    cells = np.random.default_rng(2).random(data.omics.shape) < 0.2
    common = {"Intercept": INTERCEPT, "residual_variance": VARIANCE}
    term = f"{activation}(omics)"
    return nn.Network(
        [
            nn.Layer("geno", data.genotypes),
            nn.Layer("omics", data.omics.mask(cells)),
            nn.Layer("pheno", data.phenotypes),
        ],
        [
            nn.Equation("omics ~ 1 + geno", priors={"geno": MARKERS["RRBLUP"], **common}),
            nn.Equation(
                f"pheno ~ 1 + {term}", priors={term: nn.Prior("Normal", mu=0, sigma=1), **common}
            ),
        ],
    )


def differences(a: xr.Dataset, b: xr.Dataset) -> dict[str, np.ndarray]:
    """z of the differences of means and standard deviations, by variable."""
    found = {}
    for name in COMPARED:
        parts: list[Any] = []
        for method, summary in (("mean", xr.DataArray.mean), ("sd", xr.DataArray.std)):
            error = np.hypot(az.mcse(a[name], method=method), az.mcse(b[name], method=method))
            gap = summary(a[name], ("chain", "draw")) - summary(b[name], ("chain", "draw"))
            parts.append(np.ravel(gap / error))
        found[name] = np.concatenate(parts)
    return found


def main(activations: list[str], draws: int) -> None:
    for activation in activations:
        fits = {}
        for latent in ("nuts", "hmc", *(["gibbs"] if activation == "identity" else [])):
            began = time.process_time()
            result = network(activation).fit(
                draws=draws,
                tune=500,
                chains=1,
                cores=1,
                random_seed=len(fits) + 1,
                progressbar=False,
                quiet=True,
                latent=latent,
                keep=["omics_missing"],
            )
            fits[latent] = result["posterior"].dataset
            fewest = min(float(az.ess(fits[latent][name]).min()) for name in COMPARED)
            seconds = time.process_time() - began
            print(f"{activation} {latent}: fewest effective draws {fewest:.0f}, {seconds:.0f} s")
            for other in list(fits)[:-1]:
                for name, z in differences(fits[other], fits[latent]).items():
                    print(
                        f"  {other} - {latent} {name:26} {len(z):4} comparisons, largest "
                        f"{np.abs(z).max():.2f}, mean z^2 {np.mean(z**2):.2f}"
                    )
            sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("activations", nargs="*", default=list(ACTIVATIONS), metavar="ACTIVATION")
    parser.add_argument("--draws", type=int, default=4000)
    given = parser.parse_args()
    main(given.activations, given.draws)

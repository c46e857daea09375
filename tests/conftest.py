"""One small network, fitted once a session for every test that needs a result."""

from __future__ import annotations

import matplotlib
import pytest
import xarray as xr
from hypothesis import settings

import nnmm_pymc as nn
from nnmm_pymc.simulation import Simulation

matplotlib.use("Agg")
# The same examples in every run: `benchmarks/fuzz.py` looks for new ones.
settings.register_profile("fixed", derandomize=True)
settings.load_profile("fixed")


@pytest.fixture(scope="session")
def simulation() -> Simulation:
    """80 individuals, 30 markers, 2 omics with 40 % of their cells missing, one trait."""
    return nn.simulate(80, 30, 2, missing="cells", random_seed=1)


@pytest.fixture(scope="session")
def network(simulation: Simulation) -> nn.Network:
    """The network that `simulation` was drawn from."""
    return nn.Network(
        [
            nn.Layer("geno", simulation.genotypes),
            nn.Layer("omics", simulation.omics),
            nn.Layer("pheno", simulation.phenotypes),
        ],
        [nn.Equation("omics ~ 1 + geno", priors={"geno": nn.BayesC()}), "y ~ 1 + tanh(omics)"],
    )


@pytest.fixture(scope="session")
def fitted(network: nn.Network) -> xr.DataTree:
    """Posterior of `network`: enough draws for its tables, too few to believe it."""
    return network.fit(draws=200, tune=200, chains=2, random_seed=1, progressbar=False, quiet=True)

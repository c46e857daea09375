"""`check_conditionals` finds nothing in the sampler as it is, and a fault where there is one."""

import numpy as np
import pandas as pd
import pytest
from small_models import INTERCEPT, MARKERS, MODELS, VARIANCE

import nnmm_pymc as nn
from nnmm_pymc.checks import conditionals
from nnmm_pymc.steps import markers, normals, regression
from nnmm_pymc.steps.conjugate import ConjugateGibbs
from nnmm_pymc.steps.latent import LatentGibbs


def small_network(missing, term, prior):
    data = nn.simulate(40, 20, 3, missing=missing, missing_fraction=0.3, random_seed=1)
    layers = [
        nn.Layer("geno", data.genotypes),
        nn.Layer("omics", data.omics),
        nn.Layer("pheno", data.phenotypes),
    ]
    return nn.Network(layers, [nn.Equation("omics ~ 1 + geno", priors={"geno": prior}), term])


NETWORKS = {
    "nuts": ("individuals", "y ~ 1 + tanh(omics) + geno", nn.BayesC()),
    "exact": ("cells", "y ~ 1 + omics", nn.BayesR()),
    "complete": (None, "y ~ 1 + sigmoid(omics) + geno", nn.BayesL()),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_step_draws_from_its_conditional(name):
    table = nn.check_conditionals(small_network(*NETWORKS[name]), random_seed=1)
    assert {"marker_gibbs", "conjugate_gibbs"} < set(table["step"])
    assert table["ok"].all(), table


@pytest.mark.parametrize("seed", range(3))
def test_zeros_of_relu_are_those_of_a_moment(seed):
    """A cell that is negative at every point looked at counts once it is positive."""
    table = nn.check_conditionals(MODELS["relu"]()[0], random_seed=seed)
    assert "selection_gibbs" in set(table["step"])
    assert table["ok"].all(), table


@pytest.mark.parametrize("levels", ["fm", "fmx", [0.0, 1.0]])
def test_levels_that_take_turns_by_row(levels):
    """Rows of one level are no response of their own."""
    rng = np.random.default_rng(1)
    ids = [f"i{k}" for k in range(20)]
    genotypes = pd.DataFrame(rng.binomial(2, 0.4, (20, 3)).astype(float), ids, list("abc"))
    sexes = [levels[k % len(levels)] for k in range(20)]
    traits = pd.DataFrame({"y": rng.normal(size=20), "sex": sexes}, ids)
    layers = [nn.Layer("geno", genotypes), nn.Layer("pheno", traits)]
    table = nn.check_conditionals(nn.Network(layers, "y ~ 1 + sex + geno"), random_seed=1)
    assert table["ok"].all(), table


def test_moves_that_no_number_would_accept_are_looked_at():
    """Traits so precise that a probability of acceptance is zero in floating point."""
    rng = np.random.default_rng(5)
    ids = [f"i{k}" for k in range(30)]
    genotypes = pd.DataFrame(rng.binomial(2, 0.4, (30, 3)).astype(float), ids, list("abc"))
    omics = pd.DataFrame(rng.normal(size=(30, 2)), ids, ["e0", "e1"])
    omics.iloc[:20] = np.nan
    traits = pd.DataFrame({"y": rng.normal(0.0, 9.0, 30)}, ids)
    common = {"geno": MARKERS["RRBLUP"], "Intercept": INTERCEPT, "residual_variance": VARIANCE}
    precise = {"Intercept": INTERCEPT, "residual_variance": 0.01}
    network = nn.Network(
        [nn.Layer("geno", genotypes), nn.Layer("omics", omics), nn.Layer("pheno", traits)],
        [
            nn.Equation("omics ~ 1 + geno", priors=common),
            nn.Equation("y ~ 1 + relu(omics)", priors=precise),
        ],
    )
    table = nn.check_conditionals(network, random_seed=1, latent="hmc")
    assert "latent_hmc" in set(table["step"])
    assert table["ok"].all(), table


def test_a_misfit_that_is_no_number_is_one(monkeypatch):
    def misfits(step, state):
        for variable in step.vars:
            yield variable.name, np.nan
            yield variable.name, 0.0

    monkeypatch.setitem(conditionals.MISFITS, ConjugateGibbs, misfits)
    network = small_network(*NETWORKS["complete"])
    table = nn.check_conditionals(network, points=1, random_seed=1)
    found = table[table["step"] == "conjugate_gibbs"]
    assert len(found) > 0
    assert (found["difference"] == np.inf).all(), table
    assert (~found["ok"]).all(), table


def wrong_degrees_of_freedom(monkeypatch):
    right = normals.NormalStatistics.parameters

    def parameters(self, point):
        eta = right(self, point)
        return {0: eta[0] - 0.5, 1: eta[1]}

    monkeypatch.setattr(normals.NormalStatistics, "parameters", parameters)


def wrong_precision_of_the_sweep(monkeypatch):
    right = markers.sweep

    def sweep(*arrays):
        data, (residual, precision, *rest) = arrays[:8], arrays[8:]
        right(*data, residual, 1.01 * precision, *rest)

    monkeypatch.setattr(markers, "sweep", sweep)


def shrunken_weights(monkeypatch):
    right = regression.Regression.__call__

    def read(self, point):
        precision, linear = right(self, point)
        return precision, 0.99 * linear

    monkeypatch.setattr(regression.Regression, "__call__", read)
    # The comparison with the gradient would fall back to it.
    monkeypatch.setattr("nnmm_pymc.steps.gaussian.np.allclose", lambda *a, **k: True)


def no_noise_in_missing_omics(monkeypatch):
    right = LatentGibbs.step

    def step(self, point):
        new, stats = right(self, point)
        name = self.density.network.missing
        return new | {name: 0.5 * (new[name] + point[name])}, stats

    monkeypatch.setattr(LatentGibbs, "step", step)


@pytest.mark.parametrize(
    ("fault", "step"),
    [
        (wrong_degrees_of_freedom, "conjugate_gibbs"),
        (wrong_precision_of_the_sweep, "marker_gibbs"),
        (shrunken_weights, "gaussian_gibbs"),
        (no_noise_in_missing_omics, "latent_gibbs"),
    ],
)
def test_a_fault_is_found(monkeypatch, fault, step):
    network = small_network(*NETWORKS["exact"])
    fault(monkeypatch)
    table = nn.check_conditionals(network, random_seed=1)
    wrong = table[~table["ok"]]
    assert step in set(wrong["step"]), table

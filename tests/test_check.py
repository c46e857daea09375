"""`check_conditionals` finds nothing in the sampler as it is, and a fault where there is one."""

import pytest

import nnmm_pymc as nn
from nnmm_pymc.steps import markers, normals, regression
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


def wrong_degrees_of_freedom(monkeypatch):
    right = normals.NormalStatistics.parameters

    def parameters(self, point):
        eta = right(self, point)
        return {0: eta[0] - 0.5, 1: eta[1]}

    monkeypatch.setattr(normals.NormalStatistics, "parameters", parameters)


def wrong_precision_of_the_sweep(monkeypatch):
    right = markers.sweep

    def sweep(dosages, centre, gram, masks, pattern, residual, precision, *rest):
        right(dosages, centre, gram, masks, pattern, residual, 1.01 * precision, *rest)

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

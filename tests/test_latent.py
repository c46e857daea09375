"""The updates of missing omics: each against its density, and against each other."""

import arviz as az
import numpy as np
import pytest

import nnmm_pymc as nn
from nnmm_pymc.kernels.activate import ACTIVATION_CODES
from nnmm_pymc.kernels.latent import latent_hmc
from nnmm_pymc.steps import ConditionalModel, assign_steps
from nnmm_pymc.steps.fused import fused_density
from nnmm_pymc.steps.gaussian import Quadratic, gaussian_pattern
from nnmm_pymc.steps.latent_hmc import LatentHMC


def network(activation, n=60, **options):
    data = nn.simulate(n, 20, 3, activation="tanh", missing="cells", random_seed=4, **options)
    phenotypes = data.phenotypes.assign(y2=np.random.default_rng(1).normal(size=n))
    phenotypes.iloc[::7, 1] = np.nan
    return nn.Network(
        [
            nn.Layer("geno", data.genotypes),
            nn.Layer("omics", data.omics),
            nn.Layer("pheno", phenotypes),
        ],
        ["omics ~ 1 + geno", f"pheno ~ 1 + {activation}(scale(omics))"],
    )


@pytest.mark.statistical
@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "leaky_relu"])
def test_moves_of_one_individual_match_a_grid(activation):
    """Two missing cells and one observed, one trait seen and one missing."""
    rng = np.random.default_rng(1)
    g = {
        "tanh": np.tanh,
        "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
        "leaky_relu": lambda z: np.where(z > 0, z, 0.01 * z),
    }[activation]
    mean, tau = np.array([0.5, -1.0]), np.array([1.5, 9.9, 0.7])
    traits, base = np.array([[1.2], [np.nan]]), np.array([[0.4], [0.0]])
    weights = np.array([[1.5, 1.0], [0.3, 1.0], [-2.0, 1.0]])
    centre, scale = np.array([0.2, 0.0, -0.1]), np.array([1.3, 1.0, 0.8])
    cell = np.array([[0, -1, 1]])
    n_draws = 60_000
    latent, draws = np.zeros(2), np.empty((n_draws, 2))
    for i in range(n_draws):
        # fmt: off
        latent_hmc(
            latent, mean, cell, tau, traits, base, np.array([2.0, 1.0]), weights, centre, scale,
            ACTIVATION_CODES[activation], 0.01, np.array([3.0, 4.0]), 0.6, 4,
            rng.standard_normal(2), rng.random(1),
        )
        # fmt: on
        draws[i] = latent
    a, b = np.meshgrid(np.linspace(-5, 6, 700), np.linspace(-7, 6, 700), indexing="ij")
    fitted = 0.4 + 1.5 * g((a - 0.2) / 1.3) - 2.0 * g((b + 0.1) / 0.8)
    log = -0.75 * (a - 0.5) ** 2 - 0.35 * (b + 1.0) ** 2 - (1.2 - fitted) ** 2
    weight = np.exp(log - log.max())
    weight /= weight.sum()
    for values, exact in (
        (draws[:, 0], (weight * a).sum()),
        (draws[:, 1], (weight * b).sum()),
        (draws[:, 0] * draws[:, 1], (weight * a * b).sum()),
        (draws[:, 1] ** 2, (weight * b**2).sum()),
    ):
        batches = values.reshape(60, -1).mean(axis=1)
        assert abs(batches.mean() - exact) < 4.5 * batches.std(ddof=1) / np.sqrt(60)


@pytest.mark.statistical
@pytest.mark.parametrize("part", ["traits", "middle"])
def test_coefficients_have_the_precision_and_mean_of_the_model(part):
    model = network("tanh").model
    conditional = ConditionalModel(model)
    density = fused_density(conditional)
    with model:
        step = LatentHMC(
            [conditional.model_value(v) for v in density.names], density=density, rng=1
        )
    point = conditional.prior_points(seed=3, size=1)[0]
    conditional.refresh(point)
    density.prepare(point)
    names = ["pheno_Intercept", "pheno_omics"] if part == "traits" else ["omics_Intercept"]
    draw = step._draw_traits if part == "traits" else step._draw_middle
    draws = []
    for _ in range(3000):
        moved = {k: np.array(v) for k, v in point.items()}
        draw(moved)
        draws.append(np.concatenate([moved[n].ravel() for n in names]))
    quadratic = Quadratic(conditional, names, gaussian_pattern(conditional, names))
    precision, linear = quadratic(point)
    z = (np.array(draws) - np.linalg.solve(precision, linear)) @ np.linalg.cholesky(precision)
    assert np.abs(z.mean(axis=0)).max() < 4.5 / np.sqrt(3000)
    assert np.abs(np.cov(z.T) - np.eye(z.shape[1])).max() < 6 / np.sqrt(3000)


@pytest.mark.statistical
@pytest.mark.parametrize(("activation", "other"), [("tanh", "nuts"), ("identity", "gibbs")])
def test_the_updates_agree(activation, other):
    model = network(activation).model
    runs = [
        nn.sample(
            model,
            draws=800,
            tune=300,
            chains=2,
            cores=2,
            random_seed=2,
            latent=latent,
            progressbar=False,
            quiet=True,
        )["posterior"]
        for latent in ("hmc", other)
    ]
    for name in ("pheno_omics", "pheno_residual_variance", "omics_residual_variance"):
        for power in (1, 2):
            a, b = (run[name] ** power for run in runs)
            error = np.hypot(az.mcse(a), az.mcse(b))
            assert (abs(a.mean(("chain", "draw")) - b.mean(("chain", "draw"))) / error).max() < 4.5


def test_hmc_is_refused_where_it_cannot_be():
    data = nn.simulate(40, 10, 2, random_seed=1)
    complete = nn.Network(
        [nn.Layer("geno", data.genotypes), nn.Layer("omics", data.omics)], ["omics ~ 1 + geno"]
    )
    with pytest.raises(nn.InputError, match="latent='hmc' needs"):
        assign_steps(complete.model, latent="hmc")


@pytest.mark.parametrize(
    ("activation", "omics", "how"),
    [("tanh", True, "latent_hmc"), ("identity", True, "latent_gibbs"), ("tanh", False, "nuts")],
)
def test_a_layer_that_nobody_measured_is_drawn_by_individuals(activation, omics, how):
    data = nn.simulate(40, 10, 2, random_seed=1, missing="individuals", missing_fraction=0.9)
    layers = [
        nn.Layer("geno", data.genotypes),
        nn.Layer("omics", nn.latent(2) if omics else data.omics),
        nn.Layer("pheno", data.phenotypes),
    ]
    model = nn.Network(layers, ["omics ~ 1 + geno", f"y ~ 1 + {activation}(omics)"]).model
    assert dict(assign_steps(model).rows)["omics_missing"] == how

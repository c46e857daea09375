"""The compiled NUTS trajectory against integrals on a grid, for a skewed and bent target."""

import arviz as az
import numpy as np
import pandas as pd
import pytest

import nnmm_pymc as nn
from nnmm_pymc.kernels.network import network_density
from nnmm_pymc.kernels.nuts import GRADIENT, Q, n_rows, nuts_draw

MEAN, VARIANCE, TRAIT, TRAIT_VARIANCE = 0.8, 0.5, 1.5, 0.25


def one_cell(code=1, factor=None):
    """One missing omic z ~ N(0.8, 0.5), a weight w ~ N(0, 1), one trait ~ N(w tanh(z), 0.25).

    A symmetric target could not show a wrong sign; here z and w trade off along a curve. With a
    factor the second element is w over it.
    """
    none = np.zeros((0, 1), int)
    layout = (0, 1, none, none, np.array([[1]]), np.ones((1, 1)), np.zeros((1, 1)))
    priors = (np.zeros(2), np.array([0.0, 1.0]))
    held = (
        np.array([1 / VARIANCE]),
        np.array([1 / TRAIT_VARIANCE]),
        np.array([MEAN]),
        np.zeros((1, 1)),
    )
    # fmt: off
    rows = (
        np.zeros(1, int), np.array([0, 1]), np.array([True]), np.zeros((1, 1)), np.array([False]),
        np.zeros((0, 1)), np.array([[TRAIT]]), np.ones((1, 1)), np.zeros((0, 1)),
        np.zeros(1), np.ones(1), code, 0.0,
    )
    # fmt: on
    complete = (np.zeros((1, 0, 0)), np.zeros((0, 1)), np.zeros((1, 1, 1)), np.zeros((1, 1)))
    index = np.zeros((0, 0), int) if factor is None else np.array([[1]])
    whitening = (index, np.full((len(index), *[len(index)] * 2), factor or 0.0))
    return layout, priors, held, rows, complete, whitening


def log_density(z, w):
    return (
        -0.5 * (z - MEAN) ** 2 / VARIANCE
        - 0.5 * w**2
        - 0.5 * (TRAIT - w * np.tanh(z)) ** 2 / TRAIT_VARIANCE
    )


def grid_moments(functions):
    z, w = np.meshgrid(np.linspace(-5, 6, 1101), np.linspace(-6, 6, 1201), indexing="ij")
    weight = np.exp(log_density(z, w) - log_density(z, w).max())
    return [np.sum(f(z, w) * weight) / weight.sum() for f in functions]


@pytest.mark.parametrize("factor", [None, -2.5])
def test_density_and_gradient(factor):
    data, gradient = one_cell(factor=factor), np.empty(2)
    scale = np.array([1.0, factor or 1.0])

    def target(q):
        return log_density(*(scale * q))

    q, other = np.array([0.4, 1.2]), np.array([-0.7, 0.3])
    here, there = network_density(q, gradient, data), network_density(other, np.empty(2), data)
    assert here - there == pytest.approx(target(q) - target(other), rel=1e-12)
    np.testing.assert_array_equal(q, [0.4, 1.2])
    for i, step in enumerate(1e-6 * np.eye(2)):
        slope = (target(q + step) - target(q - step)) / 2e-6
        assert gradient[i] == pytest.approx(slope, rel=1e-6)


def draw(q, p, step, reference, directions, uniforms, data):
    """New position and gradient, and the rest of what the kernel returns."""
    rows = np.full((n_rows(len(directions)), len(q)), np.nan)
    drawn, *rest = nuts_draw(q, p, step, reference, directions, uniforms, rows, data)
    return rows[drawn + Q], rows[drawn + GRADIENT], rest


@pytest.mark.statistical
@pytest.mark.parametrize("step", [0.15, 0.6])
def test_draws_have_the_moments_of_the_target(step):
    """Any step size must leave the target invariant; only the speed may differ."""
    data, rng = one_cell(), np.random.default_rng(3)
    inverse_mass = np.array([0.5, 0.8])
    # Beside the middle of the target: any reference leaves it as it is.
    reference = np.array([0.3, -0.6]), 1 / inverse_mass, inverse_mass
    chains, n_draws = 4, 6000
    draws = np.empty((chains, n_draws, 2))
    for chain in range(chains):
        q = rng.normal(size=2)
        for i in range(n_draws):
            p = rng.normal(size=2) / np.sqrt(inverse_mass)
            directions = np.where(rng.random(8) < 0.5, 1, -1)
            q, _, rest = draw(q, p, step, reference, directions, rng.random(264), data)
            draws[chain, i] = q
            n_steps, depth = rest[5:7]
            assert 1 <= depth <= 8
            assert n_steps <= 2**depth - 1
    functions = [
        lambda z, w: z,
        lambda z, w: w,
        lambda z, w: z**2,
        lambda z, w: w**2,
        lambda z, w: z * w,
        lambda z, w: (z > 0) * 1.0,
        lambda z, w: z**3,
    ]
    for f, exact in zip(functions, grid_moments(functions), strict=True):
        values = f(draws[..., 0], draws[..., 1])
        assert abs(values.mean() - exact) < 4 * az.mcse(values, method="mean")


def test_a_wild_step_is_reported_as_divergent():
    q, rng = np.array([0.5, 0.5]), np.random.default_rng(0)
    reference = np.zeros(2), np.ones(2), np.ones(2)
    directions = np.ones(5, int)
    new, _, rest = draw(q, np.ones(2), 1e6, reference, directions, rng.random(64), one_cell(code=0))
    assert rest[-1] == 1
    np.testing.assert_array_equal(new, q)


def test_no_trajectory_needs_more_states_than_there_are():
    """One that never turns has them all; every direction there is, each state drawn at last."""
    data, reference = one_cell(), (np.zeros(2), np.ones(2), np.ones(2))
    q, p = np.array([0.4, 1.2]), np.array([0.3, -0.8])
    rng, depth = np.random.default_rng(0), 5
    places = set()
    for bits in range(2**depth):
        directions = np.array([1 if bits >> k & 1 else -1 for k in range(depth)])
        new, gradient, rest = draw(q, p, 1e-6, reference, directions, rng.random(64), data)
        logp, start, error, _, _, n_steps, grown, stop = rest
        assert (n_steps, grown, stop) == (2**depth - 1, depth, 0)
        slope = np.empty(2)
        assert logp == pytest.approx(network_density(new, slope, data), rel=1e-12)
        np.testing.assert_allclose(gradient, slope, rtol=1e-12)
        assert start + logp == pytest.approx(0.5 * p @ p + logp - network_density(q, slope, data))
        assert abs(error) < 1e-9
        places.add(round((new - q)[0] / (1e-6 * p[0])))
    assert min(places) >= 1 - 2**depth and max(places) <= 2**depth - 1 and len(places) > 15


def test_cells_that_no_trait_pulls_are_drawn_anew():
    """Steps of a whole turn would all be accepted and move nothing."""
    rng = np.random.default_rng(0)
    ids = [f"i{i}" for i in range(40)]
    omics = pd.DataFrame(rng.normal(size=(40, 2)), ids, ["e0", "e1"])
    omics.iloc[:20] = np.nan
    layers = [
        nn.Layer("geno", pd.DataFrame(rng.binomial(2, 0.4, (40, 5)) * 1.0, ids, list("abcde"))),
        nn.Layer("omics", omics),
        nn.Layer("pheno", pd.DataFrame({"y": rng.normal(size=40)}, ids)),
    ]
    weak = {"omics": nn.Prior("Normal", mu=0.0, sigma=1e-6)}
    network = nn.Network(layers, ["omics ~ 1 + geno", nn.Equation("y ~ 1 + tanh(omics)", weak)])
    fit = network.fit(draws=400, tune=200, chains=1, random_seed=1, progressbar=False, quiet=True)
    cells = fit["posterior"]["omics_missing"].to_numpy()[0]
    correlations = [np.corrcoef(c[1:], c[:-1])[0, 1] for c in cells.T]
    assert np.median(np.abs(correlations)) < 0.3
    assert fit["sample_stats"]["step_size"].max() <= 0.5 * np.pi

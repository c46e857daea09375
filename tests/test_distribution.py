"""`MarkerEffects` and `GenotypeProduct` against their formulas written out in NumPy."""

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
from pymc.logprob.utils import ParameterValueError
from scipy.stats import kstest, norm

from nnmm_pymc.alphabet import MarkerPrior
from nnmm_pymc.distributions import MarkerEffects, genetic_value
from nnmm_pymc.errors import InputError
from nnmm_pymc.io import read_genotypes

QUICK = "FAST_COMPILE"


def log_density(values, **parameters):
    rv = MarkerEffects.dist(**parameters, shape=np.shape(values))
    return pm.logp(rv, values).eval(mode=QUICK)


@pytest.fixture(scope="module", params=["hard calls", "dosages"])
def genotypes(request):
    rng = np.random.default_rng(0)
    dosages = rng.integers(0, 3, (37, 5)).astype(float)
    if request.param == "dosages":
        dosages = np.clip(dosages + rng.normal(0, 0.2, dosages.shape), 0, 2)
    dosages[rng.random(dosages.shape) < 0.1] = np.nan
    return read_genotypes(dosages)


def test_log_density_at_zero_and_elsewhere():
    values = np.array([[0.0, 0.3], [-1.2, 0.0], [0.0, 0.0]])
    inclusion, variance = np.array([0.2, 0.7]), np.array([0.5, 2.0])
    expected = np.where(
        values == 0,
        np.log(1 - inclusion),
        np.log(inclusion) + norm.logpdf(values, 0, np.sqrt(variance)),
    )
    out = log_density(values, inclusion=inclusion, slab_variance=variance)
    np.testing.assert_allclose(out, expected, rtol=1e-12)


def test_log_density_without_doubt_about_inclusion():
    values = np.array([0.0, 0.4])
    never = log_density(values, inclusion=0.0, slab_variance=1.0)
    np.testing.assert_allclose(never, [0.0, -np.inf])
    always = log_density(values, inclusion=1.0, slab_variance=1.0)
    np.testing.assert_allclose(always, [-np.inf, norm.logpdf(0.4)])


def test_each_marker_may_have_its_own_parameters():
    values, variance = np.array([0.0, 0.4, -2.0]), np.array([1.0, 0.1, 4.0])
    inclusion = np.array([0.0, 0.5, 1.0])
    out = log_density(values, inclusion=inclusion, slab_variance=variance)
    expected = [0.0, np.log(0.5) + norm.logpdf(0.4, 0, np.sqrt(0.1)), norm.logpdf(-2.0, 0, 2.0)]
    np.testing.assert_allclose(out, expected, rtol=1e-12)


def test_log_density_of_several_slab_classes():
    values = np.array([0.0, 0.05, 3.0])
    inclusion, variance = np.array([0.2, 0.0, 0.1]), np.array([0.01, 0.3, 1.0])
    out = log_density(values, inclusion=inclusion, slab_variance=variance, classes=True)
    slab = norm.pdf(values[:, None], 0, np.sqrt(variance)) @ inclusion
    np.testing.assert_allclose(out, np.log(np.where(values == 0, 0.7, slab)), rtol=1e-12)


def test_parameters_must_have_the_same_number_of_classes():
    with pytest.raises(InputError, match="2 classes and slab_variance 1"):
        MarkerEffects.dist(inclusion=[0.2, 0.3], slab_variance=[2.0], classes=True)


@pytest.mark.parametrize(
    "parameters",
    [
        {"inclusion": -0.1, "slab_variance": 1.0},
        {"inclusion": 1.1, "slab_variance": 1.0},
        {"inclusion": 0.5, "slab_variance": -1.0},
        {"inclusion": [0.6, 0.6], "slab_variance": [1.0, 2.0], "classes": True},
    ],
)
def test_impossible_parameters_are_refused(parameters):
    with pytest.raises(ParameterValueError, match="inclusion"):
        log_density(np.array([0.0, 0.1]), **parameters)


def test_density_integrates_to_one():
    grid = np.linspace(-15, 15, 20_001)
    parameters = {"inclusion": [0.2, 0.3], "slab_variance": [0.5, 3.0], "classes": True}
    slab = np.exp(log_density(grid + 1e-12, **parameters)).sum() * (grid[1] - grid[0])
    spike = np.exp(log_density(np.zeros(1), **parameters))[0]
    assert slab + spike == pytest.approx(1.0, abs=1e-6)


def test_draws_of_a_spike_and_a_normal():
    inclusion, variance = np.array([0.0, 0.3, 1.0]), np.array([1.0, 4.0, 0.25])
    rv = MarkerEffects.dist(inclusion=inclusion, slab_variance=variance, shape=(20_000, 3))
    draws = pm.draw(rv, random_seed=1, mode=QUICK)
    share = (draws != 0).mean(axis=0)
    assert share[0] == 0.0 and share[2] == 1.0
    assert abs(share[1] - 0.3) < 4 * np.sqrt(0.21 / 20_000)
    for k in (1, 2):
        included = draws[draws[:, k] != 0, k]
        assert kstest(included, norm(0, np.sqrt(variance[k])).cdf).pvalue > 1e-4


def test_draws_of_several_classes():
    inclusion, variance = np.array([0.2, 0.3]), np.array([1e-6, 1.0])
    rv = MarkerEffects.dist(inclusion=inclusion, slab_variance=variance, classes=True, shape=20_000)
    draws = pm.draw(rv, random_seed=2, mode=QUICK)
    tolerance = 4 * np.sqrt(0.25 / 20_000)
    assert abs(np.mean(draws == 0) - 0.5) < tolerance
    assert abs(np.mean((draws != 0) & (np.abs(draws) < 5e-3)) - 0.2 - 0.3 * 0.004) < tolerance
    assert abs(draws.var() - 0.3) < 0.02


def test_draws_take_their_shape_from_parameters_and_dims():
    rv = MarkerEffects.dist(inclusion=np.full((4, 2), 0.5), slab_variance=np.ones(2))
    assert pm.draw(rv, mode=QUICK).shape == (4, 2)
    with pm.Model(coords={"marker": list("abc"), "omic": ["x", "y"]}) as model:
        MarkerEffects("effects", inclusion=0.5, slab_variance=1.0, dims=("marker", "omic"))
    assert model.initial_point()["effects"].shape == (3, 2)
    assert pm.draw(model["effects"], mode=QUICK).shape == (3, 2)


@pytest.mark.parametrize("classes", [False, True])
def test_gradient_through_masks_is_finite_and_right(classes):
    """A masked marker has probability zero: its infinite branch must not turn the rest into NaN."""
    mask = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    values = np.array([[0.3, 0.0], [0.0, -0.2], [0.0, 0.0]])
    n_classes = 2 if classes else 1
    probability, variance = pt.dvector("probability"), pt.dvector("variance")
    if classes:
        inclusion = mask[..., None] * probability
        rv = MarkerEffects.dist(inclusion, variance, classes=True, shape=(3, 2))
    else:
        rv = MarkerEffects.dist(mask * probability[0], variance[0], shape=(3, 2))
    density = pm.logp(rv, values).sum()
    function = pytensor.function(
        [probability, variance],
        [density, *pt.grad(density, [probability, variance])],
        mode=QUICK,
    )
    at = [np.array([0.3, 0.2])[:n_classes], np.array([0.5, 0.05])[:n_classes]]
    value, *gradients = function(*at)
    assert np.isfinite(value)
    for which in range(2):
        for c in range(n_classes):
            moved = [[v.copy() for v in at] for _ in range(2)]
            for sign, m in zip((1, -1), moved, strict=True):
                m[which][c] += sign * 1e-6
            slope = (function(*moved[0])[0] - function(*moved[1])[0]) / 2e-6
            assert gradients[which][c] == pytest.approx(slope, rel=1e-5)


def test_gradient_is_finite_where_one_class_is_closed():
    probability = pt.dvector("probability")
    rv = MarkerEffects.dist(probability, np.array([0.1, 1.0]), classes=True, shape=3)
    density = pm.logp(rv, np.array([0.0, 0.2, -3.0])).sum()
    gradient = pt.grad(density, probability).eval({probability: [0.5, 0.0]}, mode=QUICK)
    assert np.isfinite(gradient[0])


def test_without_a_name_it_describes_a_prior():
    prior = MarkerEffects(inclusion=0.1, slab_variance=2.0)
    assert prior == MarkerPrior(inclusion=0.1, slab_variance=2.0)


@pytest.mark.parametrize("columns", [(), (3,)])
def test_genotype_product_is_the_centred_product(genotypes, columns):
    effects = np.random.default_rng(3).normal(size=(genotypes.p, *columns))
    out = genetic_value(genotypes, pt.as_tensor(effects))
    assert out.type.shape == (genotypes.n, *columns)
    np.testing.assert_allclose(
        out.eval(mode=QUICK), genotypes.centred() @ effects, rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("columns", [(), (3,)])
def test_gradient_of_genotype_product(genotypes, columns):
    """The product is linear: the gradient of its projection is the transposed projection."""
    rng = np.random.default_rng(4)
    effects = pt.tensor("effects", shape=(genotypes.p, *columns), dtype="float64")
    projection = rng.normal(size=(genotypes.n, *columns))
    gradient = pt.grad((genetic_value(genotypes, effects) * projection).sum(), effects)
    out = gradient.eval({effects: rng.normal(size=effects.type.shape)}, mode=QUICK)
    np.testing.assert_allclose(out, genotypes.centred().T @ projection, rtol=1e-6, atol=1e-5)


def test_second_derivative_of_a_normal_density(genotypes):
    """`grad` of a gradient runs the transposed product, whose own gradient is the product."""
    effects = pt.dvector("effects")
    density = -0.5 * (genetic_value(genotypes, effects) ** 2).sum()
    hessian = pytensor.gradient.jacobian(pt.grad(density, effects), effects)
    x = genotypes.centred()
    out = hessian.eval({effects: np.zeros(genotypes.p)}, mode=QUICK)
    np.testing.assert_allclose(out, -x.T @ x, rtol=1e-5, atol=1e-5)


def test_prior_predictive_of_a_model(genotypes):
    coords = {"marker": genotypes.markers, "individual": genotypes.individuals}
    with pm.Model(coords=coords):
        inclusion = pm.Beta("inclusion", 2, 2)
        effects = MarkerEffects("effects", inclusion=inclusion, slab_variance=1.0, dims="marker")
        value = pm.Deterministic("value", genetic_value(genotypes, effects), dims="individual")
        pm.Normal("y", value, 1.0, observed=np.zeros(genotypes.n))
        prior = pm.sample_prior_predictive(400, random_seed=6, compile_kwargs={"mode": QUICK})
    drawn = prior["prior"]["effects"].to_numpy()[0]
    np.testing.assert_allclose(
        prior["prior"]["value"].to_numpy()[0], drawn @ genotypes.centred().T, atol=1e-5
    )
    assert abs((drawn != 0).mean() - 0.5) < 4 * np.sqrt(0.05 / 400 + 0.2 / drawn.size)
    residual = prior["prior_predictive"]["y"].to_numpy()[0] - prior["prior"]["value"].to_numpy()[0]
    assert kstest(residual.ravel(), "norm").pvalue > 1e-4

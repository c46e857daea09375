"""Every step against the log density of the model it samples, and the rules all steps keep."""

from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pandas as pd
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
from pymc.step_methods.compound import BlockedStep, StepMethodState
from pymc.step_methods.state import dataclass_state
from pymc.util import get_value_vars_from_user_vars
from scipy import stats

import nnmm_pymc as nn
from nnmm_pymc.distributions import MarkerEffects, genetic_value
from nnmm_pymc.errors import InputError
from nnmm_pymc.io import read_genotypes
from nnmm_pymc.kernels.slice import slice_sample
from nnmm_pymc.sample import sample
from nnmm_pymc.steps import ConditionalModel, MarkerGibbs, assign_steps
from nnmm_pymc.steps import conjugate as conjugate_module
from nnmm_pymc.steps.conditional import PointFunction
from nnmm_pymc.steps.families import conjugate_family
from nnmm_pymc.steps.fused import fused_density
from nnmm_pymc.steps.gaussian import gaussian_pattern
from nnmm_pymc.steps.network_nuts import NetworkNUTS
from nnmm_pymc.steps.scale import find_scale

QUICK = "FAST_COMPILE"


def make_genotypes(n, p, seed=0, missing=0.05):
    rng = np.random.default_rng(seed)
    dosages = rng.binomial(2, rng.uniform(0.2, 0.8, p), (n, p)).astype(float)
    dosages[rng.random((n, p)) < missing] = np.nan
    return read_genotypes(dosages)


def network_model():
    """Two omics with missing cells, one with a mask of markers, act through tanh on a trait."""
    rng = np.random.default_rng(1)
    n, p, n_omics = 60, 70, 2
    genotypes = make_genotypes(n, p)
    truth = rng.normal(0, 0.5, (p, n_omics)) * (rng.random((p, n_omics)) < 0.1)
    omics = genotypes.centred() @ truth + rng.normal(size=(n, n_omics)) + [1.0, 0.0]
    y = 2 + np.tanh(omics) @ [1.0, -1.0] + 0.5 * rng.normal(size=n)
    latent = rng.random((n, n_omics)) < 0.25
    i, k = np.nonzero(latent)
    seen_i, seen_k = np.nonzero(~latent)
    mask = np.ones((p, n_omics))
    mask[3:9, 0] = 0.0
    with pm.Model(coords={"marker": genotypes.markers, "omic": ["e0", "e1"]}) as model:
        inclusion = pm.Beta("inclusion", 1, 4, dims="omic")
        slab_variance = pm.InverseGamma("slab_variance", 2.5, 0.3, dims="omic")
        effects = MarkerEffects(
            "effects",
            inclusion=inclusion * mask,
            slab_variance=slab_variance,
            dims=("marker", "omic"),
        )
        value = pm.Deterministic("value", genetic_value(genotypes, effects))
        variance = pm.InverseGamma("variance", 2.5, 1.5, dims="omic")
        mean = pm.Normal("intercept", 0, 5, dims="omic") + value
        missing = pm.Normal("missing", mean[i, k], pt.sqrt(variance)[k], shape=len(i))
        pm.Normal(
            "seen", mean[seen_i, seen_k], pt.sqrt(variance)[seen_k], observed=omics[seen_i, seen_k]
        )
        filled = pt.set_subtensor(pt.as_tensor(np.where(latent, 0.0, omics))[i, k], missing)
        weights = pm.Normal("weights", 0, 2, dims="omic")
        trait_variance = pm.HalfNormal("trait_variance", 1.0)
        pm.Normal(
            "y",
            pm.Normal("trait_intercept", 0, 5) + pt.tanh(filled) @ weights,
            pt.sqrt(trait_variance),
            observed=y,
        )
    return model


def zoo_model():
    """One variable of each kind of conditional, each with its own data."""
    rng = np.random.default_rng(2)
    n = 500
    x, design = rng.normal(size=(n, 3)), rng.normal(size=(30, 4))
    y = rng.normal(size=n)
    with pm.Model() as model:
        ig = pm.InverseGamma("ig", 2.5, 1.0)
        fitted = pm.Normal("intercept") + x @ pm.Normal("coefficients", 0, 2, shape=3)
        pm.Normal("y0", fitted, pt.sqrt(ig), observed=y + 2)
        rate = pm.Gamma("rate", 2, 1)
        ig3 = pm.InverseGamma("ig3", 2.5, rate, shape=3)
        means = pm.Normal("means", 0, 5, shape=3)
        pm.Normal("y1", means, pt.sqrt(ig3), observed=rng.normal(size=(20, 3)))
        pm.Normal("y2", 0, tau=pm.Gamma("precision", 2, 3), observed=rng.normal(size=25))
        pm.Normal("y3", 0, pt.sqrt(pm.Exponential("exponential", 0.7)), observed=y[:12])
        lasso = pm.Exponential("lasso", 0.5, shape=4)
        slopes = pm.Normal("slopes", 0, pt.sqrt(lasso), shape=4)
        pm.Normal("y4", design @ slopes, 1.0, observed=rng.normal(size=30))
        pm.Multinomial("y5", 20, pm.Dirichlet("mixture", [0.5, 2.0, 3.0]), observed=[3, 8, 9])
        pm.Binomial("y6", 9, pm.Beta("probability", 2, 0.5, shape=2), observed=[2, 9])
        for name, prior in {
            "half_normal": pm.HalfNormal("half_normal", 1.0),
            "half_cauchy": pm.HalfCauchy("half_cauchy", 1.0),
            "uniform": pm.Uniform("uniform", 0, 10),
            "almost_exponential": pm.Weibull("almost_exponential", 1.001, 1.0),
        }.items():
            pm.Normal(f"y_{name}", 0, pt.sqrt(prior), observed=y)
    return model


def factory_model(term):
    """A small network from `nn.Network`: two omics with missing cells, two traits with some."""
    rng = np.random.default_rng(3)
    genotypes = make_genotypes(40, 9, seed=3)
    omics, traits = rng.normal(size=(40, 2)), rng.normal(size=(40, 2))
    omics[rng.random((40, 2)) < 0.3] = np.nan
    traits[rng.random((40, 2)) < 0.2] = np.nan
    names = list(genotypes.individuals)
    network = nn.Network(
        [
            nn.Layer("geno", genotypes),
            nn.Layer("omics", pd.DataFrame(omics, index=names, columns=["e0", "e1"])),
            nn.Layer("pheno", pd.DataFrame(traits, index=names, columns=["y0", "y1"])),
        ],
        [
            nn.Equation("omics ~ 1 + geno", priors={"geno": nn.BayesC()}),
            f"pheno ~ 1 + {term} + geno",
        ],
    )
    return network.model


def summed_logp(model, **options):
    factors = model.compile_logp(sum=False, mode=QUICK, **options)
    return lambda point: float(sum(np.sum(f) for f in factors(point)))


def with_plan(model):
    return SimpleNamespace(
        model=model,
        plan=assign_steps(model),
        logp=summed_logp(model),
        logp_natural=summed_logp(model, jacobian=False),
    )


@pytest.fixture(scope="module")
def network():
    return with_plan(network_model())


@pytest.fixture(scope="module")
def zoo():
    return with_plan(zoo_model())


@pytest.fixture(scope="module")
def factory():
    """A network whose density for NUTS has the fused form."""
    return with_plan(factory_model("sigmoid(scale(omics))"))


@pytest.fixture(scope="module")
def linear():
    """A network whose missing cells are drawn exactly."""
    return with_plan(factory_model("scale(omics)"))


@pytest.fixture(scope="module")
def annotated():
    """Inclusion by a probit regression, slab variance by a power: no conjugate update."""
    genotypes = make_genotypes(40, 9, seed=3)
    rng = np.random.default_rng(3)
    annotations, size = rng.normal(size=(9, 2)), rng.uniform(0.5, 2.0, 9)
    with pm.Model(coords={"marker": genotypes.markers, "trait": ["y0", "y1"]}) as model:
        start, slopes = pm.Normal("start"), pm.Normal("slopes", 0, 1, shape=2)
        effects = MarkerEffects(
            "effects",
            inclusion=pm.math.invprobit(start + annotations @ slopes)[:, None],
            slab_variance=pm.HalfNormal("sd", 1, dims="trait") ** 2
            * size[:, None] ** pm.Normal("exponent"),
            dims=("marker", "trait"),
        )
        value = pm.Deterministic("value", genetic_value(genotypes, effects))
        pm.Normal("y", value, 1.0, observed=rng.normal(size=(40, 2)))
    return with_plan(model)


CASES = ["network", "zoo", "factory", "linear", "annotated"]


def distinct_steps(plan):
    """Steps of a plan; one that runs several times an iteration is listed once."""
    return list({id(s): s for s in plan.compound.methods}.values())


@dataclass_state
class MemoryState(StepMethodState):
    count: int


class Memory(BlockedStep):
    """A step of the user's own that remembers how often it ran, as PyMC's adapting steps do."""

    name = "memory"
    stats_dtypes_shapes: ClassVar[dict] = {}
    _state_class = MemoryState

    def __init__(self, vars):
        self.vars = get_value_vars_from_user_vars(vars, pm.modelcontext(None))
        self.rng, self.count = np.random.default_rng(0), 0

    def step(self, point):
        self.count += 1
        name = self.vars[0].name
        return point | {name: self.rng.normal(size=np.shape(point[name])) / self.count}, [{}]


def steps_of(plan, name):
    return [s for s in distinct_steps(plan) if s.name == name]


def points_of(plan, size=3):
    return plan.conditional.prior_points(seed=11, size=size)


def kinds(plan):
    return {name: how.split(": ")[-1] for name, how in plan.rows}


# ---------------------------------------------------------------- who owns what


@pytest.mark.parametrize("case", CASES)
def test_every_variable_has_one_owner(case, request):
    case = request.getfixturevalue(case)
    names = [name for name, _ in case.plan.rows]
    assert sorted(names) == sorted(rv.name for rv in case.model.free_RVs)
    owned = [v.name for s in distinct_steps(case.plan) for v in s.vars]
    assert sorted(owned) == sorted(v.name for v in case.model.value_vars)


def test_conjugate_conditionals_are_recognised_and_others_are_not(zoo, network):
    found = kinds(zoo.plan)
    assert found["ig"] == found["ig3"] == "inverse gamma"
    assert found["rate"] == found["precision"] == "gamma"
    assert found["exponential"] == found["lasso"] == "generalised inverse Gaussian"
    assert found["mixture"] == "Dirichlet"
    assert found["probability"] == "beta"
    for name in ("intercept", "coefficients", "means", "slopes"):
        assert found[name] == "gaussian_gibbs"
    for name in ("half_normal", "half_cauchy", "uniform", "almost_exponential"):
        assert found[name] == "slice_gibbs", name
    found = kinds(network.plan)
    assert found["effects"] == "marker_gibbs"
    assert found["inclusion"] == "beta"
    assert found["slab_variance"] == found["variance"] == "inverse gamma"
    assert found["trait_variance"] == "slice_gibbs"
    for name in ("missing", "weights", "intercept", "trait_intercept"):
        assert found[name] == "nuts", name


def test_two_owners_are_refused(zoo):
    with zoo.model:
        twice = [Memory([zoo.model["means"]]), Memory([zoo.model["means"]])]
    with pytest.raises(InputError, match="means"):
        assign_steps(zoo.model, twice)


def test_a_discrete_variable_is_refused():
    with pm.Model() as model:
        coin = pm.Bernoulli("coin", 0.5)
        pm.Normal("y", coin, 1, observed=[0.3])
    with pytest.raises(InputError, match="'coin' is discrete"):
        assign_steps(model)


@pytest.mark.parametrize("prior", ["StudentT prior", "tanh mean", "StudentT data"])
@pytest.mark.parametrize("size", [None, 1, 2, 3])
def test_what_is_not_gaussian_is_not_drawn_as_gaussian(prior, size):
    y = np.random.default_rng(4).normal(size=(20, size or 1))
    with pm.Model() as model:
        if prior == "StudentT prior":
            b = pm.StudentT("b", 3, mu=0, sigma=1, shape=size)
        else:
            b = pm.Normal("b", shape=size)
        if prior == "StudentT data":
            pm.StudentT("y", 4, mu=b, sigma=1, observed=y)
        else:
            pm.Normal("y", pt.tanh(b) if prior == "tanh mean" else b, 1, observed=y)
    assert gaussian_pattern(ConditionalModel(model), ["b"]) is None


def test_variables_gaussian_one_by_one_but_not_together():
    """A product of two: each is Gaussian given the other, the pair is not."""
    with pm.Model() as model:
        a, b = pm.Normal("a"), pm.Normal("b")
        pm.Normal("y", a * b, 1, observed=np.ones(5))
    conditional = ConditionalModel(model)
    assert gaussian_pattern(conditional, ["a"]) is not None
    assert gaussian_pattern(conditional, ["a", "b"]) is None


def test_variances_that_meet_in_a_likelihood_are_not_drawn_apart():
    """The sum of the first two of three variances, beside the third: no two may be independent."""
    rng = np.random.default_rng(5)
    for first, second, third in ((0, 1, 2), (0, 2, 1), (1, 2, 0)):
        with pm.Model() as model:
            v = pm.InverseGamma("v", 3, 2, shape=3)
            pm.Normal("y", 0, pt.sqrt(v[first] + v[second]), observed=rng.normal(size=20))
            pm.Normal("x", 0, pt.sqrt(v[third]), observed=rng.normal(size=20))
        assert conjugate_family(ConditionalModel(model), "v_log__") is None


@pytest.mark.parametrize("shape", [0.001, 0.01])
def test_a_vague_inverse_gamma_is_conjugate_and_has_a_start(shape):
    """Its prior draws overflow, which says nothing about its conditional."""
    with pm.Model() as model:
        v = pm.InverseGamma("v", shape, shape)
        pm.Normal("y", 0, pt.sqrt(v), observed=np.random.default_rng(6).normal(size=20))
    plan = assign_steps(model)
    assert kinds(plan)["v"] == "inverse gamma"
    point = points_of(plan, 1)[0]
    assert np.isfinite(point["v_log__"])
    plan.compound.setup_chain(np.random.default_rng(0), 1, 1)
    for _ in range(3):
        point, _ = plan.compound.step(point)
    assert abs(point["v_log__"]) < 3


# ---------------------------------------------------------------- marker effects


def effects_step(network, point):
    (step,) = steps_of(network.plan, "marker_gibbs")
    step.setup_chain(np.random.default_rng(0), 1, 1)
    step.conditional.refresh(point)
    return step


@pytest.mark.parametrize("seed", range(3))
def test_marker_conditional_is_that_of_the_model(network, seed):
    """Log density ratios of single effects: from zero to a value, and from value to value."""
    point = points_of(network.plan)[seed]
    step = effects_step(network, point)
    residual, precision, weights, variances = step.read(point)
    weights = np.broadcast_to(weights[..., 0], point["effects"].shape)
    variances = np.broadcast_to(variances[..., 0], point["effects"].shape)
    x = make_genotypes(60, 70).centred()
    rng = np.random.default_rng(seed)
    for j, k in [(0, 0), (1, 1), *zip(rng.integers(10, 70, 4), rng.integers(0, 2, 4), strict=True)]:
        old, w, v = point["effects"][j, k], weights[j, k], variances[j, k]
        right = x[:, j] @ (residual[k] + x[:, j] * old)
        square = x[:, j] @ x[:, j]

        def implied(a, right=right, square=square, w=w, v=v, t=precision[k]):
            if a == 0:
                return np.log(1 - w)
            return (
                np.log(w) + stats.norm.logpdf(a, 0, np.sqrt(v)) + t * (right - square * a / 2) * a
            )

        def model_logp(a, j=j, k=k):
            moved = point["effects"].copy()
            moved[j, k] = a
            return network.logp(point | {"effects": moved})

        reference = model_logp(0.0)
        for a in (0.2, -0.05, 1.3):
            expected = model_logp(a) - reference
            assert implied(a) - implied(0.0) == pytest.approx(expected, rel=2e-6, abs=1e-5)


class FixedNumbers:
    """Stands in for a generator: every random number is set by hand."""

    def __init__(self, uniform, normal):
        self.uniform, self.normal = uniform, normal

    def random(self, shape):
        return np.full(shape, self.uniform)

    def standard_normal(self, shape):
        return np.full(shape, self.normal)


READ = {
    "numbers": (nn.BayesC(inclusion=0.2, slab_variance=0.1), True),
    "a variance": (nn.RRBLUP(), True),
    "a variance and a probability": (nn.BayesC(), True),
    "a variance for each effect": (nn.BayesA(), True),
    "several classes": (nn.BayesR(), False),
}


@pytest.mark.parametrize("name", READ)
def test_parameters_of_effects_are_read_as_the_model_has_them(name, monkeypatch):
    """Where they are those of one variable each, without PyTensor."""
    prior, fast = READ[name]
    data = nn.simulate(30, 12, 2, random_seed=1)
    layers = [nn.Layer("geno", data.genotypes), nn.Layer("omics", data.omics)]
    model = nn.Network(layers, [nn.Equation("omics ~ 1 + geno", priors={"geno": prior})]).model
    step = next(s for s in assign_steps(model).compound.methods if isinstance(s, MarkerGibbs))
    conditional = step.conditional
    graphs = conditional.effect_parameters(step.term.effects)
    compiled = conditional.compile(graphs)
    points = conditional.prior_points(seed=7, size=4)
    wanted = [compiled(point) for point in points]
    if fast:
        monkeypatch.setattr(PointFunction, "__call__", None)
    for point, expected in zip(points, wanted, strict=True):
        for read, value in zip(step.parameters, expected, strict=True):
            assert read(point).shape == value.shape
            np.testing.assert_allclose(read(point), value, rtol=1e-12)


def test_first_marker_is_drawn_from_its_conditional(network, monkeypatch):
    """Mean, sd and probability of zero as the step itself has them, found by moving its numbers."""
    point = points_of(network.plan)[0]
    point["inclusion_logodds__"] = np.zeros(2)
    point["variance_log__"] = np.full(2, 1.0)
    (step,) = steps_of(network.plan, "marker_gibbs")
    monkeypatch.setattr(step, "scale", None)

    def drawn(uniform, normal):
        step = effects_step(network, point)
        step.rng = FixedNumbers(uniform, normal)
        return step.step(point)[0]["effects"][0]

    mean = drawn(1 - 1e-12, 0.0)
    sd = drawn(1 - 1e-12, 1.0) - mean
    for k in range(2):
        low, high = 0.0, 1.0
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if drawn(middle, 1.0)[k] == 0.0 else (low, middle)
        zero = low
        assert 0.01 < zero < 0.99

        def model_logp(a, k=k):
            moved = point["effects"].copy()
            moved[0, k] = a
            return network.logp(point | {"effects": moved})

        reference = model_logp(0.0) - np.log(zero)
        for a in mean[k] + sd[k] * np.array([-2.0, 0.3, 3.0]):
            implied = np.log1p(-zero) + stats.norm.logpdf(a, mean[k], sd[k])
            assert model_logp(a) - reference == pytest.approx(implied, abs=1e-3)


@pytest.mark.statistical
def test_slab_variance_moves_with_the_effects_it_scales(network):
    """Draws given a / sqrt(v) against the model's density along that line, Jacobians included."""
    (step,) = steps_of(network.plan, "marker_gibbs")
    point, name = points_of(network.plan)[0], "slab_variance_log__"
    step = effects_step(network, point)
    assert step.scale.variance == name
    start, effects = point[name], point["effects"]
    included = np.count_nonzero(effects, axis=0)
    assert np.all(included > 1)

    def density(log_variance, k):
        moved, log_v = effects.copy(), start.copy()
        log_v[k] = log_variance
        moved[:, k] *= np.exp(0.5 * (log_variance - start[k]))
        logp = network.logp(point | {name: log_v, "effects": moved})
        return logp + 0.5 * included[k] * log_variance

    rng = np.random.default_rng(15)
    residual, precision, _, _ = step.read(point)
    value = step.term.held.get_value().T
    state, draws = dict(point), []
    for _ in range(6000):
        quadratic = precision * np.sum(value * value, axis=1)
        linear = precision * np.sum(value * residual, axis=1)
        log_variance = step.scale.draw(state, quadratic, linear, rng)
        factor = np.exp(0.5 * (log_variance - state[name]))[:, None]
        residual, value = residual - (factor - 1) * value, factor * value
        state[name] = log_variance
        draws.append(log_variance)
    draws = np.array(draws)[::5]
    for k in range(2):
        grid = np.linspace(draws[:, k].min() - 1, draws[:, k].max() + 1, 300)
        height = np.array([density(v, k) for v in grid])
        height = np.exp(height - height.max())
        cumulative = np.concatenate([[0], np.cumsum((height[1:] + height[:-1]) / 2)])
        cdf = np.interp(draws[:, k], grid, cumulative / cumulative[-1])
        assert stats.kstest(cdf, "uniform").pvalue > 1e-4


@pytest.mark.parametrize("case", ["swapped", "not proportional", "used elsewhere"])
def test_a_variance_that_is_no_scale_is_not_moved_with_the_effects(case):
    genotypes = make_genotypes(20, 4)
    with pm.Model(coords={"marker": range(4), "omic": range(2)}) as model:
        v = pm.InverseGamma("v", 3, 2, dims="omic")
        slab = {"swapped": v[::-1], "not proportional": v + 0.1, "used elsewhere": v}[case]
        effects = MarkerEffects(
            "effects", inclusion=0.5, slab_variance=slab, dims=("marker", "omic")
        )
        value = pm.Deterministic("value", genetic_value(genotypes, effects))
        sd = pt.sqrt(v) if case == "used elsewhere" else 1.0
        pm.Normal("y", value, sd, observed=np.zeros((20, 2)))
    assert find_scale(ConditionalModel(model), "effects") is None


@pytest.mark.statistical
@pytest.mark.parametrize("shape", [(), (3,)])
def test_slice_sampler_leaves_its_density_alone(shape):
    """A skewed density on a scale other than the width of its steps."""
    rng, point, draws = np.random.default_rng(16), np.zeros(shape), []
    for _ in range(8000):
        point = slice_sample(np.asarray(point), lambda x: 2.0 * x / 5 - np.exp(x / 5), rng)
        assert np.shape(point) == shape
        draws.append(np.array(point))
    draws = np.exp(np.array(draws)[::8].reshape(1000, -1) / 5)
    for column in draws.T:
        assert stats.kstest(column, stats.gamma(2.0).cdf).pvalue > 1e-4


def test_held_value_follows_the_effects(network):
    """In float32 between two refreshes, exactly at each."""
    (step,) = steps_of(network.plan, "marker_gibbs")
    step.setup_chain(np.random.default_rng(1), 1, 250)
    x, point = make_genotypes(60, 70).centred(), points_of(network.plan)[0]
    for sweep in range(1, 251):
        point, _ = step.step(point)
        if sweep in (1, 2, 50, 99, 100, 101, 200, 250):
            exact = x @ point["effects"]
            scale = np.abs(exact).max() + 1.0
            tight = 1e-6 if sweep % 100 == 0 else 2e-5
            np.testing.assert_allclose(step.term.held.get_value(), exact, atol=tight * scale)


def test_held_value_belongs_to_the_point_it_is_asked_for(network):
    """Jumping to another point must not leave the genetic value of the last one."""
    first, second = points_of(network.plan)[:2]
    conditional, x = network.plan.conditional, make_genotypes(60, 70).centred()
    for point in (first, second, first):
        conditional.refresh(point)
        held = conditional.terms[0].held.get_value()
        np.testing.assert_allclose(held, x @ point["effects"], atol=1e-5)
    moved = second | {"effects": first["effects"].copy()}
    moved["effects"][0, 0] += 1.0
    conditional.refresh(moved)
    held = conditional.terms[0].held.get_value()
    np.testing.assert_allclose(held, x @ moved["effects"], atol=1e-5)


def single_layer(likelihood, scale=1.0, columns=()):
    """A model of one genetic value, built with a dense matrix or as the likelihood says."""
    rng = np.random.default_rng(7)
    matrix, y = rng.normal(size=(30, 4)), scale * rng.normal(size=(30, *columns))
    genotypes = make_genotypes(30, 4, seed=7)
    dims = ("marker", "omic")[: 1 + len(columns)]
    with pm.Model(coords={"marker": range(4), "omic": range(*columns or (1,))}) as model:
        effects = MarkerEffects("effects", inclusion=0.5, slab_variance=scale**2, dims=dims)
        dense = likelihood == "dense"
        product = pytensor.shared(matrix) @ effects if dense else genetic_value(genotypes, effects)
        value = pm.Deterministic("value", product)
        sd = scale * pt.sqrt(pm.InverseGamma("variance", 2.5, 1.5))
        if likelihood == "StudentT":
            pm.StudentT("y", 5, mu=value, sigma=sd, observed=y)
        elif likelihood == "unequal":
            pm.Normal("y", value, sd * np.linspace(1, 1.5, 30), observed=y)
        elif likelihood == "correlated":
            pm.MvNormal("y", value, np.eye(30) + 0.5, observed=y)
        else:
            pm.Normal("y", value, sd, observed=y)
    return model, matrix


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
@pytest.mark.parametrize(
    ("likelihood", "message"),
    [("StudentT", "not Gaussian"), ("unequal", "residual variance"), ("correlated", "independent")],
)
def test_a_likelihood_that_the_sweep_cannot_handle_is_refused(likelihood, message, scale):
    """Whatever the unit of the trait."""
    model, _ = single_layer(likelihood, scale)
    with model, pytest.raises(InputError, match=message):
        MarkerGibbs([model["effects"]])


@pytest.mark.parametrize("columns", [(), (2,)])
def test_a_dense_matrix_with_negative_entries_is_used_as_it_is(columns):
    model, matrix = single_layer("dense", columns=columns)
    conditional = ConditionalModel(model)
    effects = np.random.default_rng(8).normal(size=(4, *columns))
    np.testing.assert_allclose(
        conditional.terms[0].exact_value(effects), matrix @ effects, atol=1e-5
    )


def test_effects_used_beside_their_genetic_value_are_refused():
    genotypes = make_genotypes(20, 3)
    with pm.Model(coords={"marker": range(3)}) as model:
        effects = MarkerEffects("effects", inclusion=0.5, slab_variance=1.0, dims="marker")
        value = pm.Deterministic("value", genetic_value(genotypes, effects))
        pm.Normal("y", value, 1, observed=np.zeros(20))
        pm.Potential("sum_to_zero", -(effects.sum() ** 2))
    with pytest.raises(InputError, match="sum_to_zero"):
        ConditionalModel(model)


def test_variances_of_excluded_markers_are_drawn_from_their_prior():
    """With an exponential prior (a spiked lasso) their conditional is the edge of the family."""
    genotypes = make_genotypes(20, 6)
    with pm.Model(coords={"marker": range(6)}) as model:
        variance = pm.Exponential("slab_variance", 2.0, dims="marker")
        effects = MarkerEffects("effects", inclusion=0.5, slab_variance=variance, dims="marker")
        value = pm.Deterministic("value", genetic_value(genotypes, effects))
        pm.Normal("y", value, 1, observed=np.zeros(20))
    plan = assign_steps(model)
    (step,) = steps_of(plan, "conjugate_gibbs")
    step.setup_chain(np.random.default_rng(9), 1, 1)
    point = points_of(plan, 1)[0]
    point["effects"] = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 1.0])
    draws = np.exp([step.step(point)[0]["slab_variance_log__"] for _ in range(300)])
    assert stats.kstest(draws[:, :5].ravel(), stats.expon(scale=0.5).cdf).pvalue > 1e-4
    assert draws[:, 5].mean() > 0.5


# ---------------------------------------------------------------- conjugate updates


def test_the_variance_of_a_component_counts_the_members_of_the_moment():
    """How many normals have this variance depends on discrete labels, not on the check points."""
    with pm.Model() as model:
        variance = pm.InverseGamma("variance", 3, 2, shape=2)
        label = pm.Bernoulli("label", 0.5, shape=2)
        pm.Normal("y", 0, pt.sqrt(variance[label]), observed=np.array([0.5, -1.0]))
    conditional = ConditionalModel(model)
    conditional.__dict__["check_points"] = [
        {"variance_log__": np.zeros(2), "label": np.array(label)} for label in ([0, 1], [1, 0])
    ]
    conjugate = conjugate_family(conditional, "variance_log__")
    with model:
        step = conjugate_module.ConjugateGibbs(
            [variance], conjugates=[conjugate], conditional=conditional
        )
    step.rng = Recorder()
    step.step({"variance_log__": np.zeros(2), "label": np.array([1, 1])})
    np.testing.assert_allclose(step.rng.asked[0][1], [3.0, 4.0])


class Recorder:
    """Stands in for a generator: notes the distribution that is asked for and returns its unit."""

    def __init__(self):
        self.asked = []

    def _note(self, name, *parameters):
        parameters = np.broadcast_arrays(*parameters)
        self.asked.append((name, *parameters))
        return np.full(parameters[0].shape, 0.5 if name == "beta" else 1.0)

    def standard_gamma(self, shape):
        return self._note("gamma", shape)

    def beta(self, a, b):
        return self._note("beta", a, b)

    def wald(self, mean, scale):
        return self._note("wald", mean, scale)

    def draw_geninvgauss(self, p, b, rng):
        return self._note("gig", p, b)


def drawn_distribution(conjugate, asked, unit):
    """Log density of what the step draws, given what it asked for and the draw of its unit."""
    name, *parameters = asked
    kind = conjugate.describe()
    if kind == "Dirichlet":
        return lambda v: stats.dirichlet.logpdf(v, *parameters)
    if kind == "beta":
        return lambda v: stats.beta.logpdf(v, *parameters).sum()
    if kind == "gamma":
        return lambda v: stats.gamma.logpdf(v, *parameters, scale=unit).sum()
    if kind == "inverse gamma":
        return lambda v: stats.invgamma.logpdf(v, *parameters, scale=unit).sum()
    if name == "gig":
        return lambda v: stats.geninvgauss.logpdf(v, *parameters, scale=unit).sum()
    mean, scale = parameters
    return lambda v: np.sum(
        stats.invgauss.logpdf(unit / v, mean / scale, scale=scale) + np.log(unit / v**2)
    )


CONJUGATE = {
    "zoo": ["ig", "ig3", "rate", "precision", "exponential", "lasso", "mixture", "probability"],
    "network": ["inclusion", "slab_variance", "variance"],
}


@pytest.mark.parametrize("case", CONJUGATE)
@pytest.mark.parametrize("which", [0, 1])
def test_conjugate_draws_are_from_the_conditional_of_the_model(case, which, request, monkeypatch):
    """Densities of the untransformed variable, so Jacobians are out on both sides."""
    case, names = request.getfixturevalue(case), CONJUGATE[case]
    point = points_of(case.plan)[which]
    checked = set()
    for step in steps_of(case.plan, "conjugate_gibbs"):
        step.setup_chain(np.random.default_rng(0), 1, 1)
        for conjugate, variable in zip(step.conjugates, step.vars, strict=True):
            recorder = Recorder()
            monkeypatch.setattr(conjugate_module, "draw_geninvgauss", recorder.draw_geninvgauss)
            step.rng = recorder
            drawn, _ = step.step(point)
            alone = recorder.asked[step.conjugates.index(conjugate)]
            value = variable.name
            natural = step.conditional.natural(value)
            backward = step.conditional.compile([natural], mode=QUICK)
            density = drawn_distribution(conjugate, alone, backward(drawn)[0])
            rng = np.random.default_rng(1)
            differences = []
            for _ in range(4):
                spread = rng.normal(0, 0.5, np.shape(point[value]))
                moved = point | {value: drawn[value] + spread}
                differences.append(case.logp_natural(moved) - density(backward(moved)[0]))
            size = np.abs(case.logp_natural(point))
            assert np.ptp(differences) < 1e-7 * size + 1e-6, conjugate.value
            checked.add(step.conditional.rvs[value].name)
    assert checked == set(names)


def test_a_gaussian_conditional_that_is_not_finite_is_said(zoo, monkeypatch):
    step = next(iter(steps_of(zoo.plan, "gaussian_gibbs")))
    step.setup_chain(np.random.default_rng(0), 1, 1)
    right = type(step.quadratic).__call__

    def read(self, point):
        precision, linear = right(self, point)
        return precision, np.inf * linear

    monkeypatch.setattr(type(step.quadratic), "__call__", read)
    with pytest.raises(
        InputError, match=rf"full conditional of .*{step.vars[0].name}.* not finite"
    ):
        step.step(points_of(zoo.plan)[0])


def conditional_cdf(case, point, value, element, draws):
    """CDF of one element given the rest, on the scale of the value variable, by a fine grid."""
    low, high = draws.min(), draws.max()
    grid = np.linspace(low - 0.5 * (high - low), high + 0.5 * (high - low), 160)
    density = []
    for at in grid:
        moved = np.array(point[value])
        moved[element] = at
        density.append(case.logp(point | {value: moved}))
    density = np.exp(np.array(density) - max(density))
    cumulative = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return lambda x: np.interp(x, grid, cumulative / cumulative[-1])


@pytest.mark.statistical
def test_conjugate_draws_follow_the_conditional(zoo):
    """The draws themselves, on the transformed scale, against the model with its Jacobians."""
    point = points_of(zoo.plan)[0]
    for step in steps_of(zoo.plan, "conjugate_gibbs"):
        step.setup_chain(np.random.default_rng(2), 1, 1)
        draws = [step.step(point)[0] for _ in range(1000)]
        for variable, conjugate in zip(step.vars, step.conjugates, strict=True):
            name = variable.name
            if conjugate.family == "simplex":
                natural = step.conditional.compile([step.conditional.natural(name)], mode=QUICK)
                values = np.array([natural(d)[0] for d in draws])
                # prior (0.5, 2, 3) and counts (3, 8, 9)
                for c, alpha in enumerate((3.5, 10.0, 12.0)):
                    margin = stats.beta(alpha, 25.5 - alpha)
                    assert stats.kstest(values[:, c], margin.cdf).pvalue > 1e-4
                continue
            values = np.array([d[name] for d in draws])
            element = (0,) * (values.ndim - 1)
            own = values[(..., *element)]
            cdf = conditional_cdf(zoo, point, name, element, own)
            assert stats.kstest(own, cdf).pvalue > 1e-4, name


# ---------------------------------------------------------------- Gaussian updates


def test_gaussian_precision_and_mean_are_those_of_the_model(zoo):
    point = points_of(zoo.plan)[0]
    groups = steps_of(zoo.plan, "gaussian_gibbs")
    assert groups
    for step in groups:
        precision, linear = step.quadratic(point)
        np.testing.assert_allclose(precision, precision.T)
        rng = np.random.default_rng(4)
        differences = []
        for _ in range(4):
            b = rng.normal(size=step.quadratic.stack.size)
            moved = point | step.quadratic.stack.split(b)
            differences.append(zoo.logp(moved) - (linear @ b - 0.5 * b @ precision @ b))
        assert np.ptp(differences) < 1e-8 * np.abs(differences[0]) + 1e-7


@pytest.mark.statistical
def test_gaussian_draws_have_that_precision_and_mean(zoo):
    point = points_of(zoo.plan)[0]
    for step in steps_of(zoo.plan, "gaussian_gibbs"):
        step.setup_chain(np.random.default_rng(5), 1, 1)
        precision, linear = step.quadratic(point)
        draws = np.array(
            [
                np.concatenate([np.ravel(d[v]) for v in step.quadratic.stack.values])
                for d in (step.step(point)[0] for _ in range(1500))
            ]
        )
        whitened = (draws - np.linalg.solve(precision, linear)) @ np.linalg.cholesky(precision)
        for column in whitened.T:
            assert stats.kstest(column, "norm").pvalue > 1e-4
        correlation = np.corrcoef(whitened.T).reshape(step.quadratic.stack.size, -1)
        off = correlation[~np.eye(step.quadratic.stack.size, dtype=bool)]
        assert np.all(np.abs(off) < 4.5 / np.sqrt(1500))


def precision_and_mean(logp, point, name):
    """Precision and mean of a Gaussian conditional by differences, which are exact for it."""
    size = np.size(point[name])

    def at(q):
        return logp(point | {name: q.reshape(np.shape(point[name]))})

    zero, e = at(np.zeros(size)), np.eye(size)
    up, down = np.array([at(v) for v in e]), np.array([at(-v) for v in e])
    precision = np.diag(2 * zero - up - down)
    for i in range(size):
        for j in range(i):
            precision[i, j] = precision[j, i] = up[i] + up[j] - zero - at(e[i] + e[j])
    return precision, np.linalg.solve(precision, (up - down) / 2)


@pytest.mark.statistical
def test_linear_missing_cells_are_drawn_from_their_conditional(linear):
    (step,) = steps_of(linear.plan, "latent_gibbs")
    step.setup_chain(np.random.default_rng(14), 1, 1)
    for point in points_of(linear.plan, 2):
        precision, mean = precision_and_mean(linear.logp, point, "omics_missing")
        off = precision[~np.eye(len(precision), dtype=bool)]
        assert np.abs(off).max() > 1e-3  # an individual without both omics
        draws = np.array([step.step(point)[0]["omics_missing"] for _ in range(3000)])
        whitened = (draws - mean) @ np.linalg.cholesky(precision)
        for column in whitened.T:
            assert stats.kstest(column, "norm").pvalue > 1e-4
        correlation = np.corrcoef(whitened.T)[~np.eye(len(mean), dtype=bool)]
        assert np.all(np.abs(correlation) < 4.5 / np.sqrt(3000))


def test_missing_cells_may_have_a_step_of_the_users_own(linear):
    with linear.model:
        own = Memory([linear.model["omics_missing"]])
    rows = dict(assign_steps(linear.model, own).rows)
    assert rows["omics_missing"] == "memory"
    assert len(rows) == len(linear.model.free_RVs)


@pytest.mark.statistical
@pytest.mark.parametrize("far", [-200.0, 0.0, 200.0])
def test_conjugate_draws_do_not_depend_on_how_far_away_they_start(far):
    """Of degrees of freedom that are drawn too, a variance may be left e^200 from its mass."""
    with pm.Model() as model:
        df = pm.Gamma("df", 2.0, 0.1)
        variance = pm.InverseGamma("variance", df / 2, df / 2, shape=3)
        pm.Normal("y", 0, pt.sqrt(variance), observed=np.array([0.5, -1.0, 2.0]))
    plan = assign_steps(model)
    (step,) = (s for s in plan.compound.methods if s.name == "conjugate_gibbs")
    step.setup_chain(np.random.default_rng(2), 1, 1)
    point = {"variance_log__": np.array([far, 0.0, far]), "df_log__": np.log(5.0)}
    draws = np.exp([step.step(point)[0]["variance_log__"] for _ in range(2000)])
    for own, y in zip(draws.T, (0.5, -1.0, 2.0), strict=True):
        exact = stats.invgamma(3.0, scale=2.5 + 0.5 * y**2)
        assert stats.kstest(own, exact.cdf).pvalue > 1e-4


def test_gamma_draws_of_a_small_shape_are_no_zeros():
    """Their logarithm a log G has a limit: minus an exponential."""
    rng = np.random.default_rng(3)
    draws = conjugate_module._log_gamma(np.full(4000, 1e-3), rng)
    assert np.isfinite(draws).all()
    assert stats.kstest(-1e-3 * draws, stats.expon.cdf).pvalue > 1e-4
    plain = conjugate_module._log_gamma(np.full(4000, 0.09), rng)
    assert stats.kstest(np.exp(plain), stats.gamma(0.09).cdf).pvalue > 1e-4


# ---------------------------------------------------------------- NUTS


@pytest.mark.parametrize("case", ["network", "annotated", "factory"])
def test_nuts_sees_the_density_of_the_model(case, request):
    """Differences of its log density, Jacobians included, and its gradient by differences."""
    case = request.getfixturevalue(case)
    (step,) = steps_of(case.plan, "nuts")
    step.setup_chain(np.random.default_rng(6), 1, 1)
    for point in points_of(case.plan, 2):
        step.step(point)  # hands over everything the density is conditional on
        function = step._logp_dlogp_func._pytensor_function
        names = [v.name for v in step.vars]
        shapes = [np.shape(point[n]) for n in names]
        stops = np.cumsum([int(np.prod(s)) for s in shapes])
        start = np.concatenate([np.ravel(point[n]) for n in names])
        rng = np.random.default_rng(7)

        def full(q, names=names, shapes=shapes, stops=stops, point=point):
            parts = np.split(q, stops[:-1])
            own = {n: p.reshape(s) for n, p, s in zip(names, parts, shapes, strict=True)}
            return case.logp(point | step.outward(own))

        logp, _ = function(start)
        offset = full(start) - logp
        for scale in (0.01, 0.3):
            q = start + scale * rng.normal(size=len(start))
            logp, gradient = function(q)
            gradient = np.array(gradient)
            assert full(q) - logp == pytest.approx(offset, rel=1e-8, abs=1e-6)
            for i in rng.choice(len(q), min(len(q), 8), replace=False):
                e = np.eye(len(q))[i] * 1e-5
                slope = (full(q + e) - full(q - e)) / 2e-5
                assert gradient[i] == pytest.approx(slope, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("case", ["annotated", "network", "zoo"])
def test_slice_updates_see_the_density_of_the_model(case, request):
    """Moving one element changes its density by as much as that of the whole model."""
    case = request.getfixturevalue(case)
    found = steps_of(case.plan, "slice_gibbs")
    assert found
    rng = np.random.default_rng(8)
    for step in found:
        name = step.vars[0].name
        for point in points_of(case.plan, 2):
            case.plan.conditional.refresh(point)
            step.density.prepare(point)
            start = np.asarray(point[name])
            here = step.density(start)[0]
            for element in np.ndindex(start.shape):
                there = start.copy()
                there[element] += rng.normal(0, 0.5)
                wanted = case.logp(point | {name: there}) - case.logp(point)
                moved = step.density(there)[0][element] - here[element]
                assert moved == pytest.approx(wanted, rel=1e-6, abs=1e-7), name


@pytest.mark.statistical
def test_slice_draws_follow_the_conditional(annotated):
    """Against a grid, for each of the scales and the exponent."""
    point = points_of(annotated.plan)[0]
    for step in steps_of(annotated.plan, "slice_gibbs"):
        name = step.vars[0].name
        step.setup_chain(np.random.default_rng(3), 1, 1)
        draws, q = [], point
        for _ in range(6000):
            q = step.step(point | {name: q[name]})[0]
            draws.append(np.ravel(q[name]))
        draws = np.array(draws)[500:]
        for element in range(draws.shape[1]):
            grid = np.linspace(draws[:, element].min() - 1, draws[:, element].max() + 1, 400)
            values = []
            for g in grid:
                at = np.array(point[name]).ravel()
                at[element] = g
                values.append(annotated.logp(point | {name: at.reshape(np.shape(point[name]))}))
            weight = np.exp(np.array(values) - np.max(values))
            mean = weight @ grid / weight.sum()
            batches = draws[:, element].reshape(50, -1).mean(axis=1)
            z = (batches.mean() - mean) / (batches.std(ddof=1) / np.sqrt(50))
            assert abs(z) < 4.5, (name, element)


def test_a_network_built_by_the_factory_uses_the_fused_density(factory):
    (step,) = steps_of(factory.plan, "nuts")
    assert isinstance(step, NetworkNUTS)


def test_an_extended_network_loses_the_fused_density():
    """A potential on the weights, added by the user, must reach NUTS."""
    model = factory_model("tanh(omics)")
    assert fused_density(ConditionalModel(model)) is not None
    with model:
        pm.Potential("pull", -0.01 * (model["pheno_omics"] ** 2).sum())
    assert fused_density(ConditionalModel(model)) is None


# ---------------------------------------------------------------- rules all steps keep


def frozen(point):
    point = {name: np.array(value) for name, value in point.items()}
    for value in point.values():
        value.flags.writeable = False
    return point


@pytest.mark.parametrize("case", CASES)
def test_a_step_never_writes_into_its_point(case, request):
    plan = request.getfixturevalue(case).plan
    plan.compound.setup_chain(np.random.default_rng(9), 10, 10)
    point = frozen(points_of(plan)[0])
    for _ in range(2):
        for step in distinct_steps(plan):
            keys, before = set(point), dict(point)
            new, _ = step.step(point)
            assert set(point) == keys and all(point[k] is before[k] for k in keys)
            assert set(new) == keys
            own = {v.name for v in step.vars}
            if getattr(step, "scale", None) is not None:
                own.add(step.scale.variance)
            for name in keys - own:
                np.testing.assert_array_equal(new[name], point[name])
            for name in keys:
                assert np.shape(new[name]) == np.shape(point[name])
            point = frozen(new)


def run(plan, point, n):
    for _ in range(n):
        point, _ = plan.compound.step(point)
    return point


def assert_same_point(first, second):
    assert set(first) == set(second)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


@pytest.mark.parametrize("case", CASES)
def test_restoring_the_state_repeats_the_steps(case, request):
    plan = request.getfixturevalue(case).plan
    plan.compound.setup_chain(np.random.default_rng(10), 10, 10)
    point = run(plan, points_of(plan)[0], 3)
    state = plan.compound.sampling_state
    first = run(plan, point, 3)
    plan.compound.sampling_state = state
    assert_same_point(first, run(plan, point, 3))


@pytest.fixture(scope="module")
def twin(factory):
    """The plan of the factory's network made once more, as another process would."""
    return assign_steps(factory.model)


def test_the_state_carries_over_to_a_new_plan(factory, twin):
    """A chain resumed by another process goes on as if it had not stopped."""
    plan = factory.plan
    plan.compound.setup_chain(np.random.default_rng(11), 10, 10)
    point = run(plan, points_of(plan)[0], 3)
    state = plan.compound.sampling_state
    first = run(plan, point, 3)
    twin.compound.sampling_state = state
    assert_same_point(first, run(twin, point, 3))


def test_a_chain_does_not_depend_on_the_one_before(factory, twin):
    """After `setup_chain` the same seed and start give the same chain, whatever was run before."""
    start, elsewhere = points_of(factory.plan)[:2]
    twin.compound.setup_chain(np.random.default_rng(12), 10, 10)
    point = run(twin, elsewhere, 7)
    twin.compound.stop_tuning()
    run(twin, point, 2)
    ends = []
    for plan in (factory.plan, twin):
        plan.compound.setup_chain(np.random.default_rng(13), 10, 10)
        ends.append(run(plan, start, 5))
    assert_same_point(*ends)


def test_transforms_that_depend_on_another_variable():
    """A uniform below a random bound: starts are inside it and records are on its scale."""
    with pm.Model() as model:
        bound = pm.HalfNormal("bound", 1)
        pm.Uniform("below", 0, bound)
    conditional = ConditionalModel(model)
    points = conditional.prior_points(seed=1, size=8)
    read = conditional.compile([conditional.natural("below_interval__")], mode=QUICK)
    for point in points:
        assert np.isfinite(point["below_interval__"])
        share = 1 / (1 + np.exp(-point["below_interval__"]))
        assert read(point)[0] == pytest.approx(share * np.exp(point["bound_log__"]))


# ---------------------------------------------------------------- reproducibility


def sampled(model, cores, **options):
    return sample(
        model,
        draws=20,
        tune=20,
        chains=2,
        cores=cores,
        random_seed=5,
        progressbar=False,
        quiet=True,
        **options,
    )


def assert_same_result(first, second):
    for group in ("posterior", "moments", "effect_draws"):
        for name, values in first[group].dataset.data_vars.items():
            np.testing.assert_array_equal(
                values.to_numpy(), second[group][name].to_numpy(), err_msg=name
            )


def test_same_seed_same_result_on_any_number_of_cores(factory):
    first = sampled(factory.model, cores=1)
    assert_same_result(first, sampled(factory.model, cores=1))
    assert_same_result(first, sampled(factory.model, cores=2))
    chains = first["posterior"]["pheno_omics"].to_numpy()
    assert not np.any(chains[0] == chains[1])


def test_a_step_of_the_users_own_starts_anew_in_each_chain(factory):
    """The second chain must not inherit what the first one tuned, as it cannot in a process."""
    results = []
    for cores in (1, 2):
        with factory.model:
            step = Memory([factory.model["pheno_Intercept"]])
        results.append(sampled(factory.model, cores, step=step))
    assert_same_result(*results)


def test_recorded_values_belong_to_the_same_draw(network):
    """Genetic values, effects and transformed variables of a draw agree with each other."""
    result = sampled(network.model, cores=1, keep=["value"])
    posterior = result["posterior"]
    x = make_genotypes(60, 70).centred()
    effects = posterior["effects"].to_numpy()
    np.testing.assert_allclose(
        posterior["value"].to_numpy(), np.einsum("ij,cdjk->cdik", x, effects), atol=2e-4
    )
    halves = result["moments"]["effects_mean"].to_numpy()
    np.testing.assert_allclose(halves[:, 0], effects[:, :10].mean(axis=1), atol=1e-12)
    np.testing.assert_allclose(
        result["moments"]["effects_variance"].to_numpy()[:, 1],
        effects[:, 10:].var(axis=1, ddof=1),
        atol=1e-12,
    )
    share = result["moments"]["effects_included"].to_numpy()
    np.testing.assert_allclose(share[:, 0], (effects[:, :10] != 0).mean(axis=1))
    assert not effects[..., 3:9, 0].any()
    for name in ("inclusion", "variance", "trait_variance"):
        assert np.all(posterior[name].to_numpy() > 0)


def test_threads_do_not_change_a_sweep(network):
    """Responses are dealt to threads; the draws and the residuals are those of one."""
    point = points_of(network.plan)[0]
    results = []
    for threads in (1, 2, 3):
        step = effects_step(network, point)
        step.threads = threads
        step.rng = np.random.default_rng(5)
        for _ in range(3):
            point, _ = step.step(point)
        results.append((point[step.term.effects], step.held))
        step.threads = 1
        point = points_of(network.plan)[0]
    for effects, held in results[1:]:
        np.testing.assert_array_equal(effects, results[0][0])
        np.testing.assert_array_equal(held, results[0][1])

"""Several traits: joint marker effects, correlated residuals and what is said of them."""

import itertools

import numpy as np
import pandas as pd
import pymc as pm
import pytest
from scipy import stats
from scipy.special import logsumexp
from small_models import JOINT, traits_network

import nnmm_pymc as nn
from nnmm_pymc.correlated_traits import traits_given_others
from nnmm_pymc.covariance import CholeskyScale, inverse_wishart
from nnmm_pymc.joint_effects import all_patterns
from nnmm_pymc.kernels.genotypes import masked_gram
from nnmm_pymc.kernels.joint import coupled_sweep, joint_sweep
from nnmm_pymc.kernels.markers import BLOCK
from nnmm_pymc.kernels.packed import NOT_PACKED

COVARIANCE = np.array([[0.5, 0.25], [0.25, 0.4]])
RESIDUAL = np.array([[1.0, 0.6], [0.6, 1.5]])
SHARES = np.array([0.4, 0.2, 0.1, 0.3])


# ---- distributions


def test_density_of_joint_effects_is_that_of_pattern_and_effects():
    effects = np.array([[0.0, 0.0], [0.3, 0.0], [0.0, -0.2], [0.5, 0.4]])
    rv = nn.JointMarkerEffects.dist(SHARES, covariance=COVARIANCE, shape=(4, 2))
    slab = [
        0.0,
        stats.norm.logpdf(0.3, 0, np.sqrt(0.5)),
        stats.norm.logpdf(-0.2, 0, np.sqrt(0.4)),
        stats.multivariate_normal.logpdf([0.5, 0.4], [0, 0], COVARIANCE),
    ]
    wanted = np.log(SHARES) + np.array(slab)
    np.testing.assert_allclose(pm.logp(rv, effects).eval(mode="FAST_COMPILE"), wanted)


def test_an_effect_outside_the_patterns_is_impossible():
    patterns = [[0, 0], [1, 1]]
    rv = nn.JointMarkerEffects.dist([0.5, 0.5], patterns, COVARIANCE, shape=(2, 2))
    density = pm.logp(rv, [[0.1, 0.2], [0.1, 0.0]]).eval(mode="FAST_COMPILE")
    assert list(np.isfinite(density)) == [True, False]


def test_prior_draws_of_joint_effects_have_the_patterns_and_covariances():
    rv = nn.JointMarkerEffects.dist(SHARES, covariance=COVARIANCE, shape=(40_000, 2))
    drawn = pm.draw(rv, random_seed=1, mode="FAST_COMPILE")
    code = (drawn != 0.0) @ [1, 2]
    counts = np.bincount(code, minlength=4)
    assert stats.chisquare(counts, 40_000 * SHARES).pvalue > 1e-4
    np.testing.assert_allclose(np.cov(drawn[code == 3].T), COVARIANCE, atol=0.03)
    np.testing.assert_allclose(drawn[code == 1, 0].var(), COVARIANCE[0, 0], atol=0.03)


def test_standard_deviations_are_half_t_and_correlations_uniform():
    with pm.Model() as model:
        covariance = nn.HalfTCovariance("covariance", scale=[1.0, 2.0, 0.5])
    drawn = pm.draw(covariance, 4000, random_seed=2, mode="FAST_COMPILE")
    sd = np.sqrt(np.diagonal(drawn, axis1=1, axis2=2)) / [1.0, 2.0, 0.5]
    for t in range(3):
        assert stats.kstest(sd[:, t], lambda x: 2 * stats.t(2).cdf(x) - 1).pvalue > 1e-4
    correlation = drawn[:, 0, 2] / np.sqrt(drawn[:, 0, 0] * drawn[:, 2, 2])
    assert stats.kstest(correlation, stats.uniform(-1, 2).cdf).pvalue > 1e-4
    assert model.initial_point()["covariance_cholesky__"].shape == (6,)


def test_density_of_a_covariance_is_that_of_its_draws():
    with pm.Model() as model:
        nn.HalfTCovariance("covariance", scale=[1.0], df=3.0)
    density = model.compile_logp(mode="FAST_COMPILE")
    grid = np.linspace(-14.0, 10.0, 1201)
    mass = [np.exp(density({"covariance_cholesky__": np.array([v])})) for v in grid]
    assert np.trapezoid(mass, grid) == pytest.approx(1.0, abs=1e-4)
    # With an inverse Wishart given the scales: p(S) = p(S | a) p(a) / p(a | S), any a.
    scale, df, a = np.array([0.7, 1.3]), 2.0, np.array([0.9, 0.4])
    rv = nn.HalfTCovariance.dist(scale, df)
    own = stats.invwishart.logpdf(COVARIANCE, df + 1.0, 2.0 * df * np.diag(1.0 / a))
    own += stats.invgamma.logpdf(a, 0.5, scale=1.0 / scale**2).sum()
    rates = df * np.diag(np.linalg.inv(COVARIANCE)) + 1.0 / scale**2
    own -= stats.invgamma.logpdf(a, 0.5 * (df + 2.0), scale=rates).sum()
    assert pm.logp(rv, COVARIANCE).eval(mode="FAST_COMPILE") == pytest.approx(own)


def test_inverse_wishart_draws():
    rng = np.random.default_rng(1)
    drawn = np.array([inverse_wishart(9.0, RESIDUAL, rng) for _ in range(4000)])
    np.testing.assert_allclose(drawn.mean(axis=0), RESIDUAL / 6.0, atol=0.02)
    # A diagonal element is inverse gamma with df - T + 1 degrees of freedom.
    own = stats.invgamma(4.0, scale=0.5 * RESIDUAL[1, 1])
    assert stats.kstest(drawn[:, 1, 1], own.cdf).pvalue > 1e-4


def test_cholesky_scale_goes_there_and_back():
    transform = CholeskyScale(2)
    value = transform.to_value(COVARIANCE)
    np.testing.assert_allclose(transform.to_covariance(value), COVARIANCE)
    np.testing.assert_allclose(transform.forward(COVARIANCE).eval(mode="FAST_COMPILE"), value)
    step, h = np.eye(3) * 1e-6, 1e-6
    upper = np.triu_indices(2)
    moved = [(transform.to_covariance(value + s) - COVARIANCE)[upper] / h for s in step]
    wanted = np.linalg.slogdet(np.array(moved))[1]
    assert transform.log_jac_det(value).eval(mode="FAST_COMPILE") == pytest.approx(wanted, abs=1e-4)


# ---- sweeps against enumeration of all patterns


@pytest.fixture(scope="module")
def records():
    """Three markers, two traits, some of either missing."""
    rng = np.random.default_rng(3)
    dosages = rng.integers(0, 3, (3, 14)).astype(np.int8)
    centre = dosages.mean(axis=1).astype(np.float32)
    traits = rng.multivariate_normal([0, 0], RESIDUAL, 14) + 0.6 * (dosages.T - centre)[:, :1]
    present = np.ones((14, 2), bool)
    present[:4, 1] = present[4:6, 0] = False
    return dosages, centre, traits, present


def exact(records, log_prior, slabs):
    """Posterior of the pattern of every marker, and mean of the effects, by enumeration.

    `log_prior` of a (3, 2) array of included effects; `slabs` the covariance of two effects.
    """
    dosages, centre, traits, present = records
    x = dosages.T - centre
    design = np.kron(np.eye(2), x)  # effects trait by trait
    seen = np.flatnonzero(present.T.ravel())
    spread = np.kron(RESIDUAL, np.eye(14))[np.ix_(seen, seen)]
    y, design = traits.T.ravel()[seen], design[seen]
    masks, weights, means = [], [], []
    for included in itertools.product([False, True], repeat=6):
        mask = np.array(included).reshape(3, 2)
        flat = mask.T.ravel()
        prior = np.kron(slabs, np.eye(3)) * np.outer(flat, flat)
        total = spread + design @ prior @ design.T
        weights.append(log_prior(mask) + stats.multivariate_normal.logpdf(y, cov=total))
        means.append((prior @ design.T @ np.linalg.solve(total, y)).reshape(2, 3).T)
        masks.append(mask)
    probability = np.exp(np.array(weights) - logsumexp(weights))
    return np.array(masks), probability, np.tensordot(probability, means, axes=1)


def swept(records, sweep, n_sweeps=15_000):
    """Included and mean effects over many sweeps."""
    dosages, centre, traits, present = records
    patterns, group = np.unique(present, axis=0, return_inverse=True)
    omega = np.zeros((len(patterns), 2, 2))
    for g, own in enumerate(patterns):
        omega[g][np.ix_(own, own)] = np.linalg.inv(RESIDUAL[np.ix_(own, own)])
    masks = [(group == g).astype(np.float32) for g in range(len(patterns))]
    gram = np.stack([masked_gram(dosages, centre, m, BLOCK) for m in masks])
    packed = NOT_PACKED
    genotypes = (dosages, packed.dosages, packed.starts, packed.missing, centre)
    effects, total, kept = np.zeros((3, 2)), np.zeros((3, 2)), []
    residual = np.where(present, traits, 0.0).T.astype(np.float32)
    rng = np.random.default_rng(4)
    for _ in range(n_sweeps):
        sweep((genotypes, gram, group.ravel(), omega, residual), effects, rng)
        kept.append(effects != 0.0)
        total += effects
    return np.array(kept), total / n_sweeps


def test_joint_sweep_visits_patterns_as_enumeration_says(records):
    patterns = all_patterns(2)

    def sweep(data, effects, rng):
        shares = np.broadcast_to(SHARES, (3, 4))
        numbers = rng.random((3, 1)), rng.standard_normal((3, 2))
        joint_sweep(*data, shares, patterns, COVARIANCE, effects, *numbers)

    kept, mean = swept(records, sweep)
    masks, probability, wanted = exact(
        records, lambda m: np.log(SHARES)[m @ [1, 2]].sum(), COVARIANCE
    )
    code = np.array([1, 2, 4, 8, 16, 32])
    found = np.bincount(kept.reshape(-1, 6) @ code, minlength=64) / len(kept)
    exactly = np.zeros(64)
    exactly[masks.reshape(-1, 6) @ code] = probability
    # Sweeps follow one another closely: errors as of 4000 independent ones.
    error = np.sqrt(exactly * (1 - exactly) / 4000)
    assert np.all(np.abs(found - exactly) < 4.5 * error + 1e-4)
    np.testing.assert_allclose(mean, wanted, atol=0.03)


def test_coupled_sweep_visits_effects_as_enumeration_says(records):
    inclusion, slab = np.array([0.3, 0.6]), np.array([0.5, 0.4])

    def sweep(data, effects, rng):
        weights = np.broadcast_to(inclusion[:, None], (3, 2, 1))
        variances = np.broadcast_to(slab[:, None], (3, 2, 1))
        classes = np.empty((3, 2), np.int8)
        numbers = rng.random((3, 2)), rng.standard_normal((3, 2))
        coupled_sweep(*data, weights, variances, effects, classes, *numbers)

    kept, mean = swept(records, sweep)
    masks, probability, wanted = exact(
        records,
        lambda m: np.sum(np.where(m, np.log(inclusion), np.log1p(-inclusion))),
        np.diag(slab),
    )
    pip = np.tensordot(probability, masks, axes=1)
    np.testing.assert_allclose(kept.mean(axis=0), pip, atol=0.02)
    np.testing.assert_allclose(mean, wanted, atol=0.03)


# ---- models


def test_every_variable_has_an_exact_update():
    plan = nn.assign_steps(traits_network(JOINT).model)
    assert {how.split(":")[0] for _, how in plan.rows} == {
        "joint_marker_gibbs",
        "covariance_gibbs",
        "gaussian_gibbs",
        "conjugate_gibbs",
    }


@pytest.mark.filterwarnings("ignore:PyTensor could not link:UserWarning")  # PyMC's LKJ starts in C
def test_a_covariance_prior_of_ones_own_is_fitted_by_nuts():
    def own(name):
        sd = pm.HalfNormal.dist(1.0, shape=2)
        lower, *_ = pm.LKJCholeskyCov(f"{name}_factor", n=2, eta=2.0, sd_dist=sd)
        return lower @ lower.T

    network = traits_network(JOINT)
    equation = network.equations[0]
    priors = {**equation.priors, "residual_covariance": own}
    network = nn.Network(
        network.layers, nn.Equation(equation.formula, priors=priors, residual="correlated")
    )
    table = nn.check_conditionals(network, points=1)
    steps = dict(zip(table["variable"], table["step"], strict=True))
    assert steps["pheno_residual_covariance_factor"] == "nuts"
    assert table["ok"].all()


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(5)
    dosages = rng.binomial(2, 0.4, (150, 40))
    effects = rng.multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]], 40)
    value = (dosages - dosages.mean(axis=0)) @ effects
    noise = rng.multivariate_normal([0, 0], [[1, -0.5], [-0.5, 1]], 150)
    traits = value / value.std(axis=0) + noise
    traits[100:, 1] = np.nan
    ids = [f"i{i}" for i in range(150)]
    genotypes = pd.DataFrame(dosages, ids, [f"m{j}" for j in range(40)])
    network = nn.load_model("multi_trait").network(
        geno=genotypes, pheno=pd.DataFrame(traits, ids, ["y1", "y2"])
    )
    result = network.fit(
        draws=300, tune=200, chains=2, cores=1, random_seed=1, progressbar=False, quiet=True
    )
    return network, genotypes, value, result


def test_correlations_lie_where_they_were_simulated(fitted):
    _, _, value, result = fitted
    table = nn.trait_correlations(result, probability=0.98).set_index("component")
    true = np.corrcoef(value.T)[0, 1]
    assert table.loc["genetic", "lower"] < true < table.loc["genetic", "upper"]
    assert table.loc["residual", "lower"] < -0.5 < table.loc["residual", "upper"]
    assert table.loc["residual", "upper"] < 0.0
    assert list(table["trait"]) == ["y1", "y1"]


def test_results_are_read_as_of_any_network(fitted, tmp_path):
    network, genotypes, value, result = fitted
    nn.save(result, tmp_path / "run")
    back = nn.load(tmp_path / "run")
    pd.testing.assert_frame_equal(nn.trait_correlations(back), nn.trait_correlations(result))
    ebv = nn.breeding_values(back).pivot(index="individual", columns="trait", values="ebv")
    assert np.corrcoef(ebv.loc[genotypes.index, "y2"], value[:, 1])[0, 1] > 0.6
    new = nn.predict_network(back, genotypes.iloc[:5])
    assert list(new["trait"].unique()) == ["y1", "y2"]
    assert {"pip", "mean"} <= set(nn.marker_effects(back))
    shares = nn.variance_components(back).groupby("trait")["share"].sum()
    np.testing.assert_allclose(shares, 1.0, atol=1e-6)
    nn.diagnose(back, network)


def test_a_trait_given_the_other_follows_their_correlation():
    mean, covariance = np.zeros((1, 2, 2)), RESIDUAL[None]
    given = np.array([[1.0, np.nan], [np.nan, np.nan]])
    chosen = np.array([[np.nan, 0.2], [0.3, -0.4]])
    found, density = traits_given_others(mean, covariance, given, chosen)
    assert found[0, 0, 1] == pytest.approx(0.6)
    wanted = [
        stats.norm.logpdf(0.2, 0.6, np.sqrt(1.5 - 0.36)),
        stats.multivariate_normal.logpdf([0.3, -0.4], [0, 0], RESIDUAL),
    ]
    np.testing.assert_allclose(density[0], wanted)


@pytest.mark.parametrize(
    ("formula", "options", "message"),
    [
        ("y0 ~ 1 + geno", {"residual": "correlated"}, "one column only"),
        ("pheno ~ 1 + geno", {"residual": "joined"}, "use 'independent' or 'correlated'"),
        ("pheno ~ 1 + geno", {"priors": {"residual_covariance": 1.0}}, "none of its terms"),
        ("y0 ~ 1 + geno", {"priors": {"geno": nn.JointBayesC()}}, "two columns at least"),
        (
            "pheno ~ 1 + geno",
            {"priors": {"geno": nn.JointBayesC(patterns=[[0, 1, 1]])}},
            "one column for each of the 2",
        ),
        (
            "pheno ~ 1 + geno",
            {"priors": {"geno": {"y0": nn.JointRRBLUP(), "y1": nn.BayesC()}}},
            "two columns at least",
        ),
    ],
)
def test_what_cannot_be_is_refused(formula, options, message):
    layers = traits_network(JOINT).layers
    with pytest.raises(nn.InputError, match=message):
        _ = nn.Network(layers, nn.Equation(formula, **options)).model

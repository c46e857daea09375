"""Binary, ordinal, count, censored and heavy-tailed traits: densities, steps and predictions."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import nnmm_pymc as nn
from nnmm_pymc.description import describe
from nnmm_pymc.family_draws import observed_values, tail_variance
from nnmm_pymc.merit import Batch
from nnmm_pymc.simulation.pedigree import simulate_pedigree
from nnmm_pymc.steps.bounds import truncated_normal
from nnmm_pymc.steps.liability import LiabilityGibbs

OPTIONS = {"chains": 2, "cores": 1, "random_seed": 1, "progressbar": False, "quiet": True}
EQUATIONS = {
    "bernoulli": nn.Equation("binary ~ 1 + x + (1|herd)", family="bernoulli"),
    "ordinal": nn.Equation("score ~ 1 + x + (1|herd)", family="ordinal"),
    "poisson": nn.Equation("count ~ 1 + x + (1|herd)", family="poisson"),
    "censored": nn.Equation("days ~ 1 + x + (1|herd)", family="censored", bounds=("low", "high")),
    "negative_binomial": nn.Equation("many ~ 1 + x + (1|herd)", family="negative_binomial"),
    "student_t": nn.Equation("tailed ~ 1 + x + (1|herd)", family="student_t"),
}
LOG_PRECISION = "tailed_precision_log__"
WITHOUT_BOUNDS = ("poisson", "negative_binomial", "student_t")


@pytest.fixture(scope="module")
def records():
    """Traits of 120 individuals with one liability: intercept 0.4, slope 0.8, ten herds."""
    rng = np.random.default_rng(1)
    x, herd = rng.normal(size=120), rng.integers(0, 10, 120)
    liability = 0.4 + 0.8 * x + rng.normal(0, 0.5, 10)[herd] + rng.normal(size=120)
    frame = pd.DataFrame({"x": x, "herd": [f"h{k}" for k in herd]}, [f"i{k}" for k in range(120)])
    return frame.assign(
        binary=(liability > 0) * 1.0,
        score=np.digitize(liability, [0.0, 0.7, 1.8]) * 10.0,
        count=rng.poisson(np.exp(0.5 * liability)).astype(float),
        days=np.where(liability < 1, liability, np.nan),
        low=np.where(liability < 1, np.nan, 1.0),
        high=np.where((liability > 1) & (liability < 2), 2.0, np.nan),
        many=rng.poisson(np.exp(0.5 * liability + 1) * rng.gamma(3, 1 / 3, 120)).astype(float),
        tailed=liability + rng.standard_t(3, 120),
    )


def network(records, family):
    return nn.Network(nn.Layer("pheno", records), EQUATIONS[family])


def test_normals_between_bounds_are_those_of_the_inverse_distribution():
    uniform = np.linspace(0.01, 0.99, 25)
    for lower, upper in [(-np.inf, 0.3), (0.3, np.inf), (-1.0, 0.5), (4.0, 6.0), (-7.0, -6.5)]:
        bounds = np.full(25, lower), np.full(25, upper)
        found = truncated_normal(np.full(25, 0.5), 2.0, *bounds, uniform)
        mirrored = lower > 0.5
        at = 1 - uniform if mirrored else uniform
        wanted = stats.truncnorm.ppf(at, (lower - 0.5) / 2, (upper - 0.5) / 2, 0.5, 2)
        np.testing.assert_allclose(found, wanted, rtol=1e-7)
    far = truncated_normal(np.zeros(1), 1.0, np.full(1, 12.0), np.full(1, np.inf), np.full(1, 0.5))
    assert far[0] == pytest.approx(stats.norm.isf(0.5 * stats.norm.sf(12.0)), rel=1e-9)


@pytest.mark.parametrize("family", EQUATIONS)
def test_liabilities_are_drawn_from_the_density_of_the_model(records, family):
    model = network(records, family).model
    plan = nn.assign_steps(model)
    (point,) = plan.conditional.prior_points(1, 1)
    logp = model.compile_logp(mode="FAST_COMPILE")
    assert np.isfinite(logp(point))
    table = nn.check_conditionals(network(records, family), points=1)
    assert table["ok"].all()
    if family in WITHOUT_BOUNDS or family == "censored":
        return
    (step,) = (s for s in plan.compound.methods if isinstance(s, LiabilityGibbs))
    assert logp(point | {step.liability.name: point[step.liability.name] + 100.0}) == -np.inf


@pytest.mark.parametrize("family", EQUATIONS)
def test_traits_are_fitted_and_predicted_as_they_are_observed(records, family, tmp_path):
    own = network(records, family)
    result = own.fit(draws=100, tune=60, **OPTIONS)
    trait = own.equations[0].left[0]
    slope = result["posterior"][f"{trait}_x"].to_numpy()
    true = 0.4 if family in ("poisson", "negative_binomial") else 0.8
    assert abs(slope.mean() - true) < 4 * slope.std()
    table = own.predict(result, covariates=records[["x", "herd"]])
    assert np.isfinite(table["prediction"]).all()
    shown = {"bernoulli": (0, 1), "ordinal": (0, 30), "poisson": (0, 100), "censored": (-9, 9)}
    shown |= {"negative_binomial": (0, 200), "student_t": (-9, 9)}
    assert table["prediction"].between(*shown[family]).all()
    assert np.corrcoef(table["prediction"], records["x"])[0, 1] > 0.5
    nn.save(result, tmp_path)
    again = nn.predict_network(nn.load(tmp_path), covariates=records[["x", "herd"]])
    pd.testing.assert_frame_equal(again, table)


def test_residuals_of_a_t_have_its_density_once_their_precisions_are_integrated_out(records):
    given = {"df": 5, "residual_variance": 2.0}
    equation = nn.Equation("tailed ~ 1 + x", family="student_t", priors=given)
    model = nn.Network(nn.Layer("pheno", records), equation).model
    point = model.initial_point() | {"tailed_Intercept": np.array([0.3])}
    cells = [model["tailed_precision"], model["tailed"]]
    logp = model.compile_logp(vars=cells, sum=False, mode="FAST_COMPILE")
    grid = np.linspace(-25, 5, 1501)
    joint = [
        np.exp(sum(np.ravel(part) for part in logp(point | {LOG_PRECISION: np.full(120, at)})))
        for at in grid
    ]
    mean = 0.3 + records["x"] * point["tailed_x"].item()
    wanted = stats.t.pdf(records["tailed"], 5, mean, np.sqrt(2.0 * 3 / 5))
    np.testing.assert_allclose(np.trapezoid(joint, grid, axis=0), wanted, rtol=1e-5)


def test_counts_have_the_mean_and_dispersion_of_a_negative_binomial(records):
    equation = nn.Equation("many ~ 1", family="negative_binomial", priors={"dispersion": 0.4})
    model = nn.Network(nn.Layer("pheno", records), equation).model
    liability = np.random.default_rng(3).normal(size=120)
    point = model.initial_point() | {"many_liability": liability}
    logp = model.compile_logp(vars=model["many_observed"], sum=False, mode="FAST_COMPILE")
    mean = np.exp(liability)
    wanted = stats.nbinom.logpmf(records["many"], 1 / 0.4, 1 / (1 + 0.4 * mean))
    np.testing.assert_allclose(logp(point)[0], wanted, rtol=1e-8)
    assert stats.nbinom.var(1 / 0.4, 1 / (1 + 0.4 * 3)) == pytest.approx(3 + 0.4 * 3**2)


def test_predictions_are_drawn_from_the_family(records):
    rng = np.random.default_rng(4)
    network_of = {
        "df": nn.Equation("tailed ~ 1", family="student_t"),
        "dispersion": nn.Equation("many ~ 1", family="negative_binomial"),
    }
    tailed, many = (
        describe(nn.Network(nn.Layer("pheno", records), equation).nodes)[0]
        for equation in network_of.values()
    )
    parameters = {"tailed_df": 4.0, "tailed_residual_variance": 2.0, "many_dispersion": 0.4}
    batch = Batch(np.arange(2), {k: np.full((2, 1), v) for k, v in parameters.items()}, {})
    variance = 2.0 + tail_variance(tailed, batch, (2, 20_000, 1), rng)
    residual = np.sqrt(variance) * rng.normal(size=variance.shape)
    assert stats.kstest(residual.ravel(), stats.t(4, 0, 1.0).cdf).pvalue > 0.01
    assert stats.kstest(residual.ravel(), stats.norm(0, np.sqrt(2)).cdf).pvalue < 1e-6
    counts = observed_values(many, batch, np.full((2, 20_000, 1), np.log(3.0)), rng)
    assert counts.mean() == pytest.approx(3.0, rel=0.03)
    assert counts.var() == pytest.approx(3 + 0.4 * 3**2, rel=0.06)


def test_a_few_wild_values_do_little_harm_under_a_t(records):
    wild = records.assign(tailed=0.8 * records["x"] + 0.2 * np.sin(np.arange(120)))
    wild.loc[wild["x"].nlargest(4).index, "tailed"] = -30.0
    slope = {}
    for family in ("gaussian", "student_t"):
        own = nn.Network(nn.Layer("pheno", wild), nn.Equation("tailed ~ 1 + x", family=family))
        result = own.fit(draws=100, tune=100, **OPTIONS)
        slope[family] = result["posterior"]["tailed_x"].to_numpy().mean()
    assert slope["gaussian"] < 0
    assert slope["student_t"] == pytest.approx(0.8, abs=0.1)


def test_counts_have_markers_and_a_t_has_a_pedigree_but_no_markers(records):
    genotypes = nn.simulate(120, 30, 2, random_seed=1).genotypes.set_axis(records.index)
    layers = [nn.Layer("geno", genotypes), nn.Layer("pheno", records)]
    counts = nn.Network(layers, nn.Equation("many ~ 1 + geno", family="negative_binomial"))
    assert nn.check_conditionals(counts, points=1)["ok"].fillna(True).all()
    with pytest.raises(nn.InputError, match="cannot be swept; give a layer with a pedigree"):
        nn.Network(layers, nn.Equation("tailed ~ 1 + geno", family="student_t"))
    rows = simulate_pedigree(120, np.random.default_rng(1), generations=2, n_sires=4, n_dams=8)
    layers = [nn.Layer("ped", rows), nn.Layer("pheno", records.set_axis(rows["individual"]))]
    own = nn.Network(layers, nn.Equation("tailed ~ 1 + ped", family="student_t"))
    assert nn.check_conditionals(own, points=1)["ok"].fillna(True).all()


def test_a_binary_trait_has_markers_and_a_pedigree(records):
    data = nn.simulate(120, 30, 2, random_seed=1)
    genotypes = data.genotypes.set_axis(records.index)
    layers = [nn.Layer("geno", genotypes), nn.Layer("pheno", records)]
    equation = nn.Equation("binary ~ 1 + (1|herd) + geno", family="bernoulli")
    own = nn.Network(layers, equation)
    assert nn.check_conditionals(own, points=1)["ok"].fillna(True).all()
    result = own.fit(draws=20, tune=20, **OPTIONS)
    assert len(nn.breeding_values(result)) == 120


def test_an_equation_with_a_family_is_saved_and_loaded(records, tmp_path):
    own = network(records, "censored")
    nn.save_model(own, tmp_path / "survival.toml")
    again = nn.load_model(tmp_path / "survival.toml").network(pheno=records)
    assert set(again.model.named_vars) == set(own.model.named_vars)


@pytest.mark.parametrize(
    ("formula", "options", "words"),
    [
        ("score ~ 1 + x", {"family": "bernoulli"}, "must be 0 or 1; .* the first"),
        ("x ~ 1", {"family": "poisson"}, "must be counts"),
        ("binary ~ 1 + x", {"family": "ordinal"}, "2 categories"),
        ("days ~ 1 + x", {"family": "censored"}, "needs bounds"),
        ("days ~ 1 + x", {"family": "gaussian", "bounds": ("low", "high")}, "and no other"),
        ("days ~ 1", {"family": "censored", "bounds": ("high", "low")}, "must be below"),
        ("days ~ 1", {"family": "censored", "bounds": ("beyond", "high")}, "within its bounds"),
        ("many ~ 1", {"family": "poisson", "priors": {"dispersion": 1.0}}, "none of its terms"),
        ("x ~ 1", {"family": "negative_binomial"}, "must be counts"),
        ("x ~ 1", {"family": "student_t", "priors": {"df": 2}}, "needs more than 2"),
        ("binary ~ 1 + x", {"family": "cauchy"}, "'cauchy' is not known"),
        (
            "binary ~ 1",
            {"family": "bernoulli", "priors": {"residual_variance": 2.0}},
            "residual variance is 1",
        ),
    ],
)
def test_values_that_are_none_of_the_family_are_refused(records, formula, options, words):
    with pytest.raises(nn.InputError, match=words):
        table = records.assign(beyond=records["days"] + 1.0)
        nn.Network(nn.Layer("pheno", table), nn.Equation(formula, **options))

"""Binary, ordinal, count and censored traits: their liabilities, steps and predictions."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import nnmm_pymc as nn
from nnmm_pymc.steps.bounds import truncated_normal
from nnmm_pymc.steps.liability import LiabilityGibbs

OPTIONS = {"chains": 2, "cores": 1, "random_seed": 1, "progressbar": False, "quiet": True}
EQUATIONS = {
    "bernoulli": nn.Equation("binary ~ 1 + x + (1|herd)", family="bernoulli"),
    "ordinal": nn.Equation("score ~ 1 + x + (1|herd)", family="ordinal"),
    "poisson": nn.Equation("count ~ 1 + x + (1|herd)", family="poisson"),
    "censored": nn.Equation("days ~ 1 + x + (1|herd)", family="censored", bounds=("low", "high")),
}


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
    assert table["ok"].fillna(True).all()
    if family == "poisson":
        return
    step = next(s for s in plan.compound.methods if isinstance(s, LiabilityGibbs))
    name, gaps = step.liability.name, step.liability.gaps
    n = len(step.liability.lower)
    plan.conditional.refresh(point)

    def drawn(uniform):
        residual, sd = step.read(point)
        bounds = step.liability.bounds(point)
        return truncated_normal(point[name] - residual, sd, *bounds, uniform)

    rng = np.random.default_rng(2)
    first, second = rng.uniform(0.1, 0.9, (2, n))
    width = 1e-5
    # The density of what is drawn is one over the slope of the map from uniform numbers.
    slopes = [(drawn(u + width) - drawn(u - width)) / (2 * width) for u in (first, second)]
    implied = np.sum(np.log(np.abs(slopes[0] / slopes[1])))
    values = [logp(point | {name: drawn(u)}) for u in (first, second)]
    assert values[1] - values[0] == pytest.approx(implied, rel=1e-5)
    assert logp(point | {name: drawn(first) + 100.0}) == -np.inf or family == "censored"
    if gaps is not None:
        residual, sd = step.read(point)
        mean = 0.1 * (point[name] - residual)
        sums = []
        for shift in (0.0, 0.3):
            moved = point | {gaps: point[gaps] + shift}
            edges = np.array([-np.inf, 0.0, *np.cumsum(np.exp(moved[gaps])), np.inf])
            codes = step.liability.codes
            inside = stats.norm.cdf(edges[codes + 1] - mean) - stats.norm.cdf(edges[codes] - mean)
            prior = np.sum(moved[gaps] - np.exp(moved[gaps]))
            sums.append(np.log(inside).sum() + prior - step.log_density(moved, mean, sd))
        assert sums[0] == pytest.approx(sums[1], abs=1e-7)


@pytest.mark.parametrize("family", EQUATIONS)
def test_traits_are_fitted_and_predicted_as_they_are_observed(records, family, tmp_path):
    own = network(records, family)
    result = own.fit(draws=100, tune=60, **OPTIONS)
    trait = own.equations[0].left[0]
    slope = result["posterior"][f"{trait}_x"].to_numpy()
    true = 0.4 if family == "poisson" else 0.8
    assert abs(slope.mean() - true) < 4 * slope.std()
    table = own.predict(result, covariates=records[["x", "herd"]])
    assert np.isfinite(table["prediction"]).all()
    shown = {"bernoulli": (0, 1), "ordinal": (0, 30), "poisson": (0, 100), "censored": (-9, 9)}
    assert table["prediction"].between(*shown[family]).all()
    assert np.corrcoef(table["prediction"], records["x"])[0, 1] > 0.5
    nn.save(result, tmp_path)
    again = nn.predict_network(nn.load(tmp_path), covariates=records[["x", "herd"]])
    pd.testing.assert_frame_equal(again, table)


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
        ("score ~ 1 + x", {"family": "bernoulli"}, "must be 0 or 1, not"),
        ("x ~ 1", {"family": "poisson"}, "must be counts"),
        ("binary ~ 1 + x", {"family": "ordinal"}, "2 categories"),
        ("days ~ 1 + x", {"family": "censored"}, "needs bounds"),
        ("days ~ 1 + x", {"family": "gaussian", "bounds": ("low", "high")}, "and no other"),
        ("days ~ 1", {"family": "censored", "bounds": ("high", "low")}, "must be below"),
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
        nn.Network(nn.Layer("pheno", records), nn.Equation(formula, **options))

"""Random effects on traits whose residuals correlate."""

import re

import arviz as az
import numpy as np
import pandas as pd
import pymc as pm
import pytest
from scipy import stats
from small_models import coupled_network

import nnmm_pymc as nn
from nnmm_pymc.checks.conditionals import check_plan
from nnmm_pymc.correlated_traits import traits_given_others
from nnmm_pymc.simulation.pedigree import simulate_pedigree
from nnmm_pymc.steps import assign_steps
from nnmm_pymc.steps.coupled_effects import CoupledRandomEffectGibbs

RESIDUAL = np.array([[1.0, 0.6], [0.6, 0.8]])
QUIET = {"progressbar": False, "quiet": True, "cores": 1}


@pytest.fixture(scope="module")
def data():
    """300 animals of a pedigree, one record each of two traits in ten herds; some are missing."""
    rng = np.random.default_rng(1)
    pedigree = nn.read_pedigree(simulate_pedigree(300, rng, generations=3, n_sires=8, n_dams=20))
    herd = rng.integers(0, 10, 300)
    y = pedigree.draw(rng, 2, variance=0.5) + rng.normal(size=(10, 2))[herd]
    y += rng.normal(size=(300, 2)) @ np.linalg.cholesky(RESIDUAL).T
    y[rng.random(y.shape) < 0.2] = np.nan
    records = pd.DataFrame(y, pedigree.individuals, ["y1", "y2"])
    return pedigree, records.assign(herd=[f"h{k}" for k in herd])


def network(data, right, **priors):
    pedigree, records = data
    layers = [nn.Layer("pheno", records)]
    layers += [nn.Layer("ped", pedigree)] if "ped" in right else []
    return nn.Network(layers, nn.Equation(f"y1 + y2 ~ {right}", priors, residual="correlated"))


def one_for_both(name):
    return pm.InverseGamma(f"{name}_shared", 3.0, 1.0)


@pytest.mark.parametrize(
    ("right", "priors"),
    [
        ("1 + (1|herd)", {}),
        ("1 + (1|herd)", {"1|herd": nn.Prior("HalfNormal", sigma=1.0)}),
        ("1 + (1|herd)", {"1|herd": one_for_both}),
        ("0 + (1|herd)", {"1|herd": 0.5}),
    ],
)
def test_draws_are_those_of_the_model(data, right, priors):
    pedigree, records = data
    few = pedigree, records.iloc[:40]
    table = nn.check_conditionals(network(few, right, **priors), points=2)
    assert table["ok"].all(), table
    assert "coupled_random_effect_gibbs" in set(table["step"])


@pytest.mark.parametrize("few", [2000, 0], ids=["factored", "solved"])
def test_effects_of_relatives_are_those_of_the_model(monkeypatch, few):
    monkeypatch.setattr("nnmm_pymc.steps.random_effects.FEW_ELEMENTS", few)
    plan = assign_steps(coupled_network(repeated=True).model)
    steps = [s for s in plan.compound.methods if isinstance(s, CoupledRandomEffectGibbs)]
    assert [s.direct for s in steps if s.precision is not None] == [few > 0]
    table = check_plan(plan, 2)
    assert table["ok"].all(), table


@pytest.mark.statistical
def test_means_are_those_of_the_mixed_model_equations(data):
    """Henderson 1984, Applications of Linear Models in Animal Breeding, chapter 5, two traits."""
    pedigree, records = data
    variances = {"ped": 0.5, "1|herd": 1.0, "residual_covariance": RESIDUAL}
    own = network(data, "1 + (1|herd) + ped", **variances, Intercept=nn.Prior("Flat"))
    result = own.fit(draws=3000, tune=100, chains=2, random_seed=1, **QUIET)
    herds = sorted(records["herd"].unique())
    rows = np.arange(300)
    design = np.zeros((300, 1 + 10 + pedigree.n))
    design[:, 0] = 1.0
    design[rows, 1 + pd.Index(herds).get_indexer(records["herd"])] = 1.0
    design[rows, 11 + pedigree.positions(records.index)] = 1.0
    p = design.shape[1]
    left, right = np.zeros((2 * p, 2 * p)), np.zeros(2 * p)
    for x, y in zip(design, records[["y1", "y2"]].to_numpy(), strict=True):
        seen = np.flatnonzero(~np.isnan(y))
        if len(seen):
            inverse = np.zeros((2, 2))
            inverse[np.ix_(seen, seen)] = np.linalg.inv(RESIDUAL[np.ix_(seen, seen)])
            left += np.kron(inverse, np.outer(x, x))
            right += np.kron(inverse @ np.nan_to_num(y), x)
    for t in range(2):
        herd, animal = (slice(t * p + a, t * p + b) for a, b in ((1, 11), (11, p)))
        left[herd, herd] += np.eye(10) / 1.0
        left[animal, animal] += pedigree.inverse().matrix.toarray() / 0.5
    wanted = np.linalg.solve(left, right).reshape(2, p)
    for name, part in (("Intercept", slice(0, 1)), ("1|herd", slice(1, 11)), ("ped", slice(11, p))):
        draws = result["posterior"][f"y1+y2_{name}"]
        draws = draws.expand_dims("one", axis=2) if name == "Intercept" else draws
        error = az.mcse(draws).to_numpy()
        z = (draws.mean(("chain", "draw")).to_numpy() - wanted[:, part].T) / error
        assert np.abs(z).max() < 4.5
        assert np.mean(z**2) < 2.0 if z.size > 20 else True


def test_results_are_read_as_of_any_network(data):
    own = network(data, "1 + (1|herd) + ped")
    result = own.fit(draws=40, tune=20, chains=2, random_seed=1, **QUIET)
    with pytest.warns(UserWarning, match="effects of ped on different traits are independent"):
        assert set(nn.trait_correlations(result)["component"]) == {"genetic", "residual"}
    effects = nn.level_effects(result).groupby(["term", "trait"]).size()
    assert effects.to_dict() == {
        (term, trait): n for term, n in (("1|herd", 10), ("ped", 300)) for trait in ("y1", "y2")
    }
    # Of two traits that are not complete.
    assert len(nn.plot_predicted(result, trait="y2").collections) == 1
    assert set(nn.variance_components(result)["component"]) == {"ped", "1|herd", "residual"}
    assert len(nn.breeding_values(result)) == 600


def test_a_herd_that_was_not_in_the_fit_is_drawn_from_its_prior(data):
    own = network(data, "1 + (1|herd)", **{"1|herd": 3.0}, residual_covariance=RESIDUAL)
    result = own.fit(draws=400, tune=50, chains=2, random_seed=1, **QUIET)
    seen = data[1].iloc[:200]
    known, new = (
        own.predict(result, covariates=t, random_seed=3).set_index(["trait", "individual"])
        for t in (seen, seen.assign(herd="elsewhere"))
    )
    variance = [(t["prediction_sd"] ** 2).groupby("trait").mean() for t in (known, new)]
    # Of the seen herds little is left to learn: ten records of each.
    np.testing.assert_allclose(variance[0], np.diag(RESIDUAL), rtol=0.15)
    np.testing.assert_allclose(variance[1] - variance[0], 3.0, rtol=0.15)


def test_a_trait_given_the_other_in_a_herd_that_is_not_known():
    mean, levels = np.zeros((1, 2, 2)), np.zeros((1, 2, 2))
    levels[0, 1] = [0.5, 2.0]
    given = np.array([[1.0, np.nan], [1.0, np.nan]])
    chosen = np.array([[np.nan, 0.2], [np.nan, 0.2]])
    found, density = traits_given_others(mean, RESIDUAL[None], given, chosen, levels)
    for i, total in enumerate((RESIDUAL, RESIDUAL + np.diag([0.5, 2.0]))):
        slope = total[0, 1] / total[0, 0]
        assert found[0, i, 1] == pytest.approx(slope)
        spread = np.sqrt(total[1, 1] - slope * total[0, 1])
        assert density[0, i] == pytest.approx(stats.norm.logpdf(0.2, slope, spread))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": "n"}, "has no weights"),
        ({"priors": {"1|herd": nn.HalfTCovariance()}}, "are independent; give a prior of their"),
        ({"priors": {"1|herd": -1.0}}, "'1|herd' is -1; it must be above zero"),
        ({"priors": {"1|herd": 0.0}}, "'1|herd' is 0; it must be above zero"),
    ],
)
def test_what_cannot_be_is_refused(data, options, message):
    layers = [nn.Layer("pheno", data[1].assign(n=1.0))]
    equation = nn.Equation("y1 + y2 ~ 1 + (1|herd)", residual="correlated", **options)
    with pytest.raises(nn.InputError, match=re.escape(message)):
        _ = nn.Network(layers, equation).model

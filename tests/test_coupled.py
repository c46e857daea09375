"""Random effects on traits whose residuals correlate."""

import re
from itertools import product

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
GENETIC = np.array([[0.5, -0.3], [-0.3, 0.4]])
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


@pytest.mark.parametrize("joint", [False, True], ids=["independent", "joint"])
@pytest.mark.parametrize("few", [2000, 0], ids=["factored", "solved"])
def test_effects_of_relatives_are_those_of_the_model(monkeypatch, few, joint):
    monkeypatch.setattr("nnmm_pymc.steps.random_effects.FEW_ELEMENTS", few)
    plan = assign_steps(coupled_network(repeated=True, joint=joint).model)
    steps = [s for s in plan.compound.methods if isinstance(s, CoupledRandomEffectGibbs)]
    assert [s.direct for s in steps if s.precision is not None] == [few > 0]
    table = check_plan(plan, 2)
    assert table["ok"].all(), table


@pytest.mark.statistical
@pytest.mark.parametrize("additive", [0.5, GENETIC], ids=["independent", "joint"])
def test_means_are_those_of_the_mixed_model_equations(data, additive):
    """Henderson 1984, Applications of Linear Models in Animal Breeding, chapter 5, two traits."""
    pedigree, records = data
    variances = {"ped": additive, "1|herd": 1.0, "residual_covariance": RESIDUAL}
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
    inverse = np.linalg.inv(additive * np.eye(2) if np.ndim(additive) == 0 else additive)
    for s, t in product(range(2), repeat=2):
        herds_s, herds_t = (slice(k * p + 1, k * p + 11) for k in (s, t))
        left[herds_s, herds_t] += np.eye(10) * (s == t)
        animals_s, animals_t = (slice(k * p + 11, k * p + p) for k in (s, t))
        left[animals_s, animals_t] += inverse[s, t] * pedigree.inverse().matrix.toarray()
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


@pytest.mark.parametrize("kind", ["independent", "pedigree"])
def test_density_of_joint_random_effects(data, kind):
    pedigree = None if kind == "independent" else data[0]
    relationship = np.eye(300) if pedigree is None else pedigree.relationship().to_numpy()
    effects = nn.JointRandomEffects.dist(GENETIC, pedigree, shape=(300, 2))
    u = np.random.default_rng(3).normal(size=(300, 2))
    wanted = stats.multivariate_normal(cov=np.kron(relationship, GENETIC)).logpdf(u.ravel())
    assert pm.logp(effects, u).sum().eval() == pytest.approx(wanted, rel=1e-9)
    draws = pm.draw(effects, 400, random_seed=1)
    white = np.linalg.solve(
        np.linalg.cholesky(np.kron(relationship, GENETIC)), draws.reshape(400, -1).T
    )
    # Of 240,000 standard normal numbers.
    assert abs(white.mean()) < 0.01
    assert abs(np.mean(white**2) - 1.0) < 0.015


def test_genetic_correlations_of_a_pedigree_are_parameters(data):
    own = network(data, "1 + ped", ped=nn.HalfTCovariance())
    result = own.fit(draws=30, tune=20, chains=2, random_seed=1, **QUIET)
    table = nn.trait_correlations(result).set_index("component")
    assert list(table.index) == ["genetic", "ped", "residual"]
    g = result["posterior"]["y1+y2_ped_covariance"].to_numpy()
    wanted = g[..., 0, 1] / np.sqrt(g[..., 0, 0] * g[..., 1, 1])
    assert table.loc["ped", "mean"] == pytest.approx(wanted.mean())
    variances = nn.variance_components(result).set_index(["trait", "component"])["mean"]
    assert variances["y2", "ped"] == pytest.approx(g[..., 1, 1].mean())


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
        (
            {"priors": {"1|herd": nn.HalfTCovariance()}},
            "which the effects of individuals themselves",
        ),
        ({"priors": {"1|herd": -1.0}}, "'1|herd' is -1; it must be above zero"),
        ({"priors": {"1|herd": 0.0}}, "'1|herd' is 0; it must be above zero"),
    ],
)
def test_what_cannot_be_is_refused(data, options, message):
    layers = [nn.Layer("pheno", data[1].assign(n=1.0))]
    equation = nn.Equation("y1 + y2 ~ 1 + (1|herd)", residual="correlated", **options)
    with pytest.raises(nn.InputError, match=re.escape(message)):
        _ = nn.Network(layers, equation).model

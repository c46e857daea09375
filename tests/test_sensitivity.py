"""What priors imply before the data, and what changes when they do."""

from __future__ import annotations

import arviz as az
import numpy as np
import pandas as pd
import pymc as pm
import pytest
import xarray as xr
from scipy import stats

import nnmm_pymc as nn
from nnmm_pymc import prior_check
from nnmm_pymc.log_density import importance_weights, with_log_densities
from nnmm_pymc.prior_check import implied_prior
from nnmm_pymc.sensitivity import _reweighted, _with_priors, sensitivity
from nnmm_pymc.steps.conditional import QUICK_MODE

PRIORS = {
    "RRBLUP": nn.RRBLUP(),
    "BayesA": nn.BayesA(),
    "BayesC": nn.BayesC(),
    "BayesL": nn.BayesL(),
}


def two_layers(prior, y="y ~ 1 + tanh(omics)", *, missing=None, omics=None, traits=None):
    """A network of 2 omics and a trait; `omics` and `traits` are further priors of the two."""
    data = nn.simulate(60, 25, 2, missing=missing, random_seed=1)
    return nn.Network(
        [
            nn.Layer("geno", data.genotypes),
            nn.Layer("omics", data.omics),
            nn.Layer("pheno", data.phenotypes),
        ],
        [
            nn.Equation("omics ~ 1 + geno", priors={"geno": prior, **(omics or {})}),
            nn.Equation(y, priors=traits or {}),
        ],
    )


def inverse_gamma(alpha: float, beta: float) -> nn.Prior:
    return nn.Prior("InverseGamma", alpha=alpha, beta=beta)


def se_of_difference(a: pd.Series, b: pd.Series, n_a: int, n_b: int) -> float:
    return float(np.sqrt(a["sd"] ** 2 / n_a + b["sd"] ** 2 / n_b))


# --- the prior predictive distribution of PyMC -------------------------------------------------


@pytest.mark.parametrize("y", ["y ~ 1 + omics", "y ~ 1 + tanh(scale(omics)) + geno"])
@pytest.mark.parametrize("missing", [None, "cells"])
@pytest.mark.parametrize("name", PRIORS)
def test_pymc_draws_the_prior_predictive_distribution(name, missing, y):
    network = two_layers(PRIORS[name], y, missing=missing)
    drawn = pm.sample_prior_predictive(
        draws=3, model=network.model, random_seed=1, compile_kwargs={"mode": QUICK_MODE}
    )
    prior = drawn["prior"].dataset
    assert {rv.name for rv in network.model.free_RVs} <= set(prior.data_vars)
    for group in ("prior", "prior_predictive"):
        for variable in drawn[group].data_vars.values():
            assert np.isfinite(variable).all()
    x = network.nodes[0].markers[0].genotypes.centred()
    effects = prior["omics_geno"].to_numpy()[0]
    np.testing.assert_allclose(prior["omics_geno_value"].to_numpy()[0], x @ effects, atol=1e-6)


# --- what the priors of a network imply ---------------------------------------------------------


def test_heritability_of_fixed_variances_is_that_of_numpy():
    v, sigma2, w, sigma2_y = 0.02, 0.7, np.array([0.8, -0.5]), 0.4
    network = two_layers(
        nn.RRBLUP(slab_variance=v),
        "y ~ 1 + omics",
        omics={"residual_variance": sigma2},
        traits={"omics": w[:, None], "residual_variance": sigma2_y},
    )
    draws = 4000
    table = implied_prior(network, draws=draws, random_seed=1).set_index(["quantity", "trait"])
    x = network.nodes[0].markers[0].genotypes.centred()
    rng = np.random.default_rng(2)
    genetic = np.einsum("ij,djk->dik", x, np.sqrt(v) * rng.standard_normal((draws, x.shape[1], 2)))
    omics, trait = genetic.var(axis=1), (genetic @ w).var(axis=1)
    expected = {
        "omic1": omics[:, 0] / (omics[:, 0] + sigma2),
        "y": trait / (trait + np.sum(w**2) * sigma2 + sigma2_y),
    }
    for name, h in expected.items():
        row = table.loc[("heritability", name)]
        assert abs(row["mean"] - h.mean()) < 4 * h.std() * np.sqrt(2 / draws)
        assert row["sd"] == pytest.approx(h.std(), rel=4 / np.sqrt(draws))
        # The distribution function of the one at the quantiles of the other.
        for column, probability in (("lower", 0.05), ("median", 0.5), ("upper", 0.95)):
            found = np.mean(h < row[column])
            se = np.sqrt(2 * probability * (1 - probability) / draws)
            assert abs(found - probability) < 4 * se


def test_number_of_causal_markers_is_binomial():
    data = nn.simulate(40, 200, 2, random_seed=1)
    allowed = [f"snp{j}" for j in range(1, 31)]
    network = nn.Network(
        [nn.Layer("geno", data.genotypes), nn.Layer("omics", data.omics)],
        [
            nn.Equation(
                "omics ~ 1 + geno",
                priors={"geno": nn.BayesC(inclusion=0.1)},
                connections={"omic1": allowed},
            )
        ],
    )
    draws = 2000
    table = implied_prior(network, draws=draws, random_seed=1)
    table = table[table["quantity"] == "causal_markers"].set_index("trait")
    for trait, n in (("omic1", 30), ("omic2", 200)):
        row, binomial = table.loc[trait], stats.binom(n, 0.1)
        assert abs(row["mean"] - binomial.mean()) < 4 * binomial.std() / np.sqrt(draws)
        assert row["sd"] == pytest.approx(binomial.std(), rel=4 / np.sqrt(2 * draws))
        assert abs(row["median"] - binomial.median()) <= 1
    assert set(table["term"]) == {"geno"}


def test_batches_do_not_change_the_draws(monkeypatch):
    network = two_layers(nn.BayesC(), "y ~ 1 + tanh(omics) + geno")
    whole = implied_prior(network, draws=25, random_seed=3)
    monkeypatch.setattr(prior_check, "BATCH_EFFECTS", 7 * 3 * 25)
    pd.testing.assert_frame_equal(whole, implied_prior(network, draws=25, random_seed=3))


def test_any_prior_that_can_be_drawn_is_understood():
    def inclusion(name, dims):
        return pm.Deterministic(name, pm.math.invlogit(pm.Normal("q", -2, 1)))

    draws = 1000
    for prior in (nn.BayesC(inclusion=inclusion), nn.BayesB(), nn.BayesL(), nn.BayesR()):
        table = implied_prior(two_layers(prior), draws=50, random_seed=1)
        shares = table.loc[table["quantity"] == "heritability", "mean"]
        assert shares.between(0.01, 0.99).all()
    total = two_layers(nn.RRBLUP()).nodes[0].markers[0].genotypes.centred().var(axis=0).sum()
    ridge = two_layers(nn.RRBLUP(slab_variance=0.5 / total))
    related = two_layers(nn.GBLUP(genetic_variance=0.5))
    a, b = (implied_prior(n, draws=draws, random_seed=1) for n in (ridge, related))
    assert "causal_markers" not in set(b["quantity"])
    for trait in ("y", "omic1"):
        x, y = (
            t[(t["quantity"] == "heritability") & (t["trait"] == trait)].iloc[0] for t in (a, b)
        )
        assert abs(x["mean"] - y["mean"]) < 4 * se_of_difference(x, y, draws, draws)


def test_a_flat_intercept_stands_at_the_mean_of_its_column():
    """Behind tanh the intercept of an omic matters: at 1.5 its slope is a fifth of that at 0."""
    data = nn.simulate(60, 25, 2, random_seed=1)
    layers = [
        nn.Layer("geno", data.genotypes),
        nn.Layer("omics", data.omics + 1.5),
        nn.Layer("pheno", data.phenotypes),
    ]
    draws = 1000
    mean = (data.omics + 1.5).mean().to_numpy()
    found = []
    for intercept in (nn.Prior("Flat"), mean, 0.0):
        omics = nn.Equation("omics ~ 1 + geno", priors={"Intercept": intercept})
        network = nn.Network(layers, [omics, "y ~ 1 + tanh(omics)"])
        found.append(implied_prior(network, draws=draws, random_seed=1).iloc[0])
    flat, at_mean, at_zero = found
    assert flat["trait"] == "y"
    error = se_of_difference(flat, at_mean, draws, draws)
    assert abs(flat["mean"] - at_mean["mean"]) < 4 * error < abs(flat["mean"] - at_zero["mean"])


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        (nn.Prior("HalfFlat"), "is flat"),
        (inverse_gamma(0.001, 0.001), "residual_variance has draws that arithmetic cannot hold"),
    ],
)
def test_improper_priors_imply_nothing(prior, message):
    network = two_layers(nn.RRBLUP(), traits={"residual_variance": prior})
    with pytest.raises(nn.InputError, match=message):
        implied_prior(network, draws=50, random_seed=1)


def test_a_network_without_genotypes_has_no_heritability():
    with pytest.raises(nn.InputError, match="no genotypes"):
        implied_prior(one_variance(inverse_gamma(3, 2)))


# --- other priors -----------------------------------------------------------------------------


def one_variance(prior) -> nn.Network:
    """Forty values around zero: an inverse gamma prior of their variance is conjugate."""
    rng = np.random.default_rng(5)
    y = pd.DataFrame({"y": 1.3 * rng.standard_normal(40)}, index=[f"i{i}" for i in range(40)])
    equation = nn.Equation("y ~ 1", priors={"Intercept": 0.0, "residual_variance": prior})
    return nn.Network([nn.Layer("pheno", y)], [equation])


FIT = {"draws": 800, "tune": 100, "chains": 2, "progressbar": False, "quiet": True}


def test_both_methods_give_the_conjugate_posterior_and_its_error():
    a, b = (4.0, 4.0), (6.0, 9.0)
    network = one_variance(inverse_gamma(*a))
    squares = float((network.nodes[0].observed ** 2).sum())
    exact = [stats.invgamma(alpha + 20, scale=beta + squares / 2) for alpha, beta in (a, b)]
    result = network.fit(random_seed=1, **FIT)
    other = {"b": {"y": {"residual_variance": inverse_gamma(*b)}}}
    refit = sensitivity(network, other, result=result, random_seed=1, **FIT).iloc[0]
    reweight = sensitivity(network, other, result=result, method="reweight").iloc[0]
    shift = (exact[1].mean() - exact[0].mean()) / exact[0].std()
    for row in (refit, reweight):
        assert row["quantity"] == "y_residual_variance[y]"
        assert 0 < row["shift_mcse"] < 0.08
        assert abs(row["shift"] - shift) < 4 * row["shift_mcse"]
        assert row["base_sd"] == pytest.approx(exact[0].std(), rel=0.1)
        assert row["sd"] == pytest.approx(exact[1].std(), rel=0.1)
    assert reweight["pareto_k"] < 0.7
    assert reweight["shift_mcse"] < refit["shift_mcse"]


def test_weights_are_the_ratio_of_the_priors_densities():
    a, b = (4.0, 4.0), (4.5, 4.4)
    network, other = (one_variance(inverse_gamma(*p)) for p in (a, b))
    values = stats.invgamma(24, scale=30).rvs((2, 300, 1), random_state=1)
    result = az.from_dict({"posterior": {"y_residual_variance": values}})
    weights, _ = importance_weights(network, other, result, "b")
    ratio = stats.invgamma(b[0], scale=b[1]).pdf(values) / stats.invgamma(a[0], scale=a[1]).pdf(
        values
    )
    ratio = ratio[..., 0]
    # The largest, the tail, are smoothed; the others are the ratio, but for a factor of all.
    low = ratio < np.quantile(ratio, 0.7)
    found = weights.to_numpy()[low] / ratio[low]
    np.testing.assert_allclose(found, found[0], rtol=1e-6)
    assert float(weights.mean()) == pytest.approx(1.0)


def test_the_error_of_a_reweighted_shift_is_what_repetition_shows():
    a, b = stats.invgamma(24, scale=30), stats.invgamma(28, scale=33)
    scores = []
    for seed in range(400):
        draws = xr.DataArray(a.rvs((2, 200), random_state=seed), dims=("chain", "draw"))
        draws = draws.assign_coords(draw=np.arange(200))
        weights = xr.apply_ufunc(lambda x: b.pdf(x) / a.pdf(x), draws)
        (row,) = _reweighted({"v": draws}, weights)
        gap = row["mean"] - row["base_mean"] - (b.mean() - a.mean())
        scores.append(gap / (row["shift_mcse"] * row["base_sd"]))
    assert abs(np.mean(scores)) < 4 / np.sqrt(400)
    assert np.std(scores) == pytest.approx(1.0, abs=4 / np.sqrt(800))


def test_marker_effects_and_breeding_values_follow_the_weights():
    """Against a second fit, of a network with genotypes, an omic and a trait."""
    data = nn.simulate(60, 20, 1, random_seed=2)
    layers = [
        nn.Layer("geno", data.genotypes),
        nn.Layer("omics", data.omics),
        nn.Layer("pheno", data.phenotypes),
    ]
    network = nn.Network(
        layers,
        [
            nn.Equation(
                "omics ~ 1 + geno",
                priors={"geno": nn.BayesC(slab_variance=0.1), "residual_variance": 0.5},
            ),
            "y ~ 1 + omics",
        ],
    )
    inclusion = nn.Prior("Beta", alpha=1, beta=4)
    other = {"sparse": {"omics": {"geno": nn.BayesC(inclusion, slab_variance=0.1)}}}
    result = network.fit(random_seed=1, **FIT)
    refit, reweight = (
        sensitivity(network, other, result=result, **options).set_index("quantity")
        for options in ({"random_seed": 1, **FIT}, {"method": "reweight"})
    )
    assert set(refit.index) == set(reweight.index)
    assert {"omics_geno_causal[omic1]", "y_heritability[y]", "y_omics[omic1, y]"} <= set(
        refit.index
    )
    moved = refit.index[~refit.index.str.contains("_ebv_correlation")]
    error = np.hypot(refit["shift_mcse"], reweight["shift_mcse"])[moved]
    gap = (refit["shift"] - reweight["shift"])[moved]
    assert (np.abs(gap) < 4.5 * error).all()
    assert refit.loc["omics_geno_causal[omic1]", "shift"] < -0.2
    for name in ("y_ebv_correlation[y]", "omics_ebv_correlation[omic1]"):
        assert 0.9 < reweight.loc[name, "mean"] < 1.0
        assert refit.loc[name, "mean"] == pytest.approx(reweight.loc[name, "mean"], abs=0.02)


@pytest.mark.parametrize(
    ("base", "other", "message"),
    [
        (inverse_gamma(4, 4), 1.0, "only one of the two networks has the variable"),
        (inverse_gamma(4, 4), inverse_gamma(4, 4), "changes no prior"),
        (inverse_gamma(4, 4), inverse_gamma(200, 900), "k-hat"),
        (nn.Prior("Uniform", lower=0.5, upper=3), inverse_gamma(4, 4), "the base excludes"),
        (inverse_gamma(4, 4), nn.Prior("Uniform", lower=50, upper=60), "k-hat"),
    ],
)
def test_reweighting_is_refused_where_it_would_mislead(base, other, message):
    values = stats.invgamma(24, scale=30).rvs((2, 300, 1), random_state=1)
    result = az.from_dict({"posterior": {"y_residual_variance": values}})
    with pytest.raises(nn.InputError, match=message):
        importance_weights(one_variance(base), one_variance(other), result, "other")


def test_a_narrower_uniform_prior_leaves_out_draws():
    base, other = (nn.Prior("Uniform", lower=0, upper=u) for u in (5.0, 1.3))
    values = stats.invgamma(24, scale=30).rvs((2, 300, 1), random_state=1)
    result = az.from_dict({"posterior": {"y_residual_variance": values}})
    weights, _ = importance_weights(one_variance(base), one_variance(other), result, "other")
    inside = values[..., 0] < 1.3
    assert inside.any() and not inside.all()
    np.testing.assert_allclose(weights, inside / inside.mean())


def test_effects_that_were_not_stored_cannot_be_reweighted():
    network, other = (two_layers(nn.RRBLUP(slab_variance=v)) for v in (0.1, 0.2))
    result = xr.DataTree.from_dict({"posterior": xr.Dataset(coords={"chain": [0], "draw": [0, 1]})})
    with pytest.raises(nn.InputError, match="draws of 'omics_geno' were not stored"):
        importance_weights(network, other, result, "other")


def test_alternatives_replace_priors_and_nothing_else():
    weights = nn.Prior("Normal", mu=0, sigma=1)
    network = two_layers(nn.BayesC(), traits={"tanh(omics)": weights})
    narrow = nn.Prior("Normal", mu=0, sigma=0.1)
    other = _with_priors(network, {"y": {"omics": narrow}})
    assert other.priors["y"]["tanh(omics)"] == narrow
    assert other.priors["omics"]["geno"].inclusion == network.priors["omics"]["geno"].inclusion
    assert other.tables["geno"] is network.tables["geno"]
    assert network.priors["y"]["tanh(omics)"] == weights
    with pytest.raises(nn.InputError, match="No equation has 'omic' on its left"):
        sensitivity(network, {"a": {"omic": {"geno": nn.RRBLUP()}}})
    with pytest.raises(nn.InputError, match="none of its terms"):
        sensitivity(network, {"a": {"omics": {"gene": nn.RRBLUP()}}})


def test_a_result_of_another_network_is_refused(fitted):
    other = two_layers(nn.BayesC(), "y ~ 1 + omics", missing="cells")
    with pytest.raises(nn.InputError, match="not a fit of this network"):
        sensitivity(other, {}, result=fitted)


# --- power-scaling ------------------------------------------------------------------------------


def test_log_densities_are_those_of_scipy_and_arviz_reads_them(network, fitted):
    tree = with_log_densities(network, fitted)
    posterior, prior = tree["posterior"].dataset, tree["log_prior"].dataset
    assert posterior.sizes["draw"] == prior.sizes["draw"]
    given = network.priors["omics"]["residual_variance"].parameters
    values = posterior["omics_residual_variance"].to_numpy()
    expected = stats.invgamma(given["alpha"], scale=given["beta"]).logpdf(values).sum(axis=-1)
    np.testing.assert_allclose(prior["omics_residual_variance"], expected, atol=1e-7)
    assert "omics_geno" not in prior and "omics_missing" not in prior

    draws = fitted["posterior"].dataset.sel(draw=posterior["draw"])
    omics = np.tile(network.nodes[0].observed, (*draws["y_Intercept"].shape[:2], 1, 1))
    omics[..., network.nodes[0].latent] = draws["omics_missing"].to_numpy()
    mean = (
        draws["y_Intercept"].to_numpy()[:, :, None] + np.tanh(omics) @ draws["y_omics"].to_numpy()
    )
    sd = np.sqrt(draws["y_residual_variance"].to_numpy())[:, :, None]
    expected = stats.norm(mean, sd).logpdf(network.nodes[1].observed).sum(axis=(2, 3))
    np.testing.assert_allclose(tree["log_likelihood"]["y"], expected)

    summary = az.psense_summary(tree)
    assert {"y_heritability[y]", "y_residual_variance[y]"} <= set(summary.index)
    assert np.isfinite(summary[["prior", "likelihood"]].to_numpy()).all()


def test_power_scaling_sees_a_prior_that_disagrees_with_the_data():
    tables = {}
    for label, prior in (("vague", inverse_gamma(2, 2)), ("far", inverse_gamma(60, 600))):
        network = one_variance(prior)
        tree = with_log_densities(network, network.fit(random_seed=1, **FIT))
        tables[label] = az.psense_summary(tree).loc["y_residual_variance[y]"]
    assert tables["vague"]["prior"] < 0.1 < tables["far"]["prior"]
    assert "conflict" in tables["far"]["diagnosis"]

"""The posterior of a network against the same model written by hand for `pm.sample`.

The hand-written model shares nothing with the package: indicators times normals, a dense matrix,
NUTS and Metropolis within Gibbs on the full density. `benchmarks/plain_pymc.py` runs it for longer.
"""

import warnings

import arviz as az
import numpy as np
import pandas as pd
import pymc as pm
import pytensor.tensor as pt
import pytest

import nnmm_pymc as nn

N, P, K = 80, 12, 2
OMICS, MARKERS = ["e0", "e1"], [f"snp{j}" for j in range(P)]


def make_data(seed=0):
    """Dosages, omics with a fifth of the cells missing, and a trait; a few markers have effects."""
    rng = np.random.default_rng(seed)
    dosages = rng.binomial(2, rng.uniform(0.25, 0.75, P), (N, P))
    effects = np.zeros((P, K))
    effects[[0, 1, 4], 0] = 0.8, -0.6, 0.35
    effects[[2, 5], 1] = 0.7, 0.4
    omics = 0.5 + (dosages - dosages.mean(axis=0)) @ effects + 0.8 * rng.normal(size=(N, K))
    trait = 1.0 + np.tanh(omics) @ [1.0, -0.7] + 0.5 * rng.normal(size=N)
    omics[rng.random((N, K)) < 0.2] = np.nan
    return dosages.astype(float), omics, trait


def build_network(dosages, omics, trait):
    ids = [f"i{i}" for i in range(N)]
    variance = nn.Prior("InverseGamma", alpha=4, beta=2)
    return nn.Network(
        [
            nn.Layer("geno", pd.DataFrame(dosages, index=ids, columns=MARKERS)),
            nn.Layer("omics", pd.DataFrame(omics, index=ids, columns=OMICS)),
            nn.Layer("pheno", pd.DataFrame({"y": trait}, index=ids)),
        ],
        [
            nn.Equation(
                "omics ~ 1 + geno",
                priors={
                    "geno": nn.BayesC(
                        inclusion=nn.Prior("Beta", alpha=2, beta=3),
                        slab_variance=nn.Prior("InverseGamma", alpha=4, beta=1),
                    ),
                    "Intercept": nn.Prior("Normal", mu=0, sigma=2),
                    "residual_variance": variance,
                },
            ),
            nn.Equation(
                "y ~ 1 + tanh(omics)",
                priors={
                    "omics": nn.Prior("Normal", mu=0, sigma=1),
                    "Intercept": nn.Prior("Normal", mu=0, sigma=2),
                    "residual_variance": variance,
                },
            ),
        ],
    )


def plain_model(dosages, omics, trait):
    x = dosages - dosages.mean(axis=0)
    row, column = np.nonzero(np.isnan(omics))
    with pm.Model() as model:
        inclusion = pm.Beta("inclusion", 2, 3, shape=K)
        slab_variance = pm.InverseGamma("slab_variance", 4, 1, shape=K)
        indicator = pm.Bernoulli("indicator", inclusion, shape=(P, K))
        size = pm.Normal("size", 0, pt.sqrt(slab_variance), shape=(P, K))
        effects = pm.Deterministic("effects", indicator * size)
        intercept = pm.Normal("intercept", 0, 2, shape=K)
        variance = pm.InverseGamma("variance", 4, 2, shape=K)
        mean = intercept + pt.dot(x, effects)
        missing = pm.Normal("missing", mean[row, column], pt.sqrt(variance)[column])
        for k in range(K):
            seen = np.flatnonzero(~np.isnan(omics[:, k]))
            pm.Normal(f"seen{k}", mean[seen, k], pt.sqrt(variance[k]), observed=omics[seen, k])
        z = pt.set_subtensor(pt.as_tensor(np.nan_to_num(omics))[row, column], missing)
        weights = pm.Normal("weights", 0, 1, shape=K)
        trait_intercept = pm.Normal("trait_intercept", 0, 2)
        trait_variance = pm.InverseGamma("trait_variance", 4, 2)
        fitted = trait_intercept + pt.dot(pt.tanh(z), weights)
        pm.Normal("y", fitted, pt.sqrt(trait_variance), observed=trait)
    return model


def network_draws(data, seed, **options):
    posterior = build_network(*data).fit(
        random_seed=seed, progressbar=False, quiet=True, **options
    )["posterior"]
    return _quantities(
        inclusion=posterior["omics_geno_inclusion"],
        log_slab_variance=np.log(posterior["omics_geno_slab_variance"]),
        effects=posterior["omics_geno"],
        intercept=posterior["omics_Intercept"],
        log_variance=np.log(posterior["omics_residual_variance"]),
        missing=posterior["omics_missing"],
        weights=posterior["y_omics"],
        trait_intercept=posterior["y_Intercept"],
        log_trait_variance=np.log(posterior["y_residual_variance"]),
    )


def plain_draws(data, seed, **options):
    with plain_model(*data) as model, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a sampler that mixes badly; the error of it is counted
        posterior = pm.sample(
            random_seed=seed,
            progressbar=False,
            step=pm.BinaryGibbsMetropolis([model["indicator"]]),
            compute_convergence_checks=False,
            quiet=True,
            **options,
        )["posterior"]
    return _quantities(
        inclusion=posterior["inclusion"],
        log_slab_variance=np.log(posterior["slab_variance"]),
        effects=posterior["effects"],
        intercept=posterior["intercept"],
        log_variance=np.log(posterior["variance"]),
        missing=posterior["missing"],
        weights=posterior["weights"],
        trait_intercept=posterior["trait_intercept"],
        log_trait_variance=np.log(posterior["trait_variance"]),
    )


def _quantities(**draws):
    """Draws by name, each (chain, draw, element), with the indicators of the effects."""
    flat = {}
    for name, values in draws.items():
        values = values.transpose("chain", "draw", ...).to_numpy()
        flat[name] = values.reshape(*values.shape[:2], -1)
    return flat | {"included": (flat["effects"] != 0.0).astype(float)}


def compare(first, second):
    """Table of means and sds of every element from two samplers, with z of their differences."""
    rows = []
    for name in first:
        for element in range(first[name].shape[2]):
            pair = [np.ascontiguousarray(d[name][..., element]) for d in (first, second)]
            kinds = ("mean",) if name == "included" else ("mean", "sd")
            for kind in kinds:
                values = [getattr(v, "mean" if kind == "mean" else "std")() for v in pair]
                errors = [_mcse(v, kind) for v in pair]
                z = (values[0] - values[1]) / max(np.hypot(*errors), 1e-12)
                rows.append((name, element, kind, *values, *errors, z))
    columns = ["name", "element", "of", "network", "plain", "mcse_network", "mcse_plain", "z"]
    return pd.DataFrame(rows, columns=columns)


def _mcse(draws, kind):
    if np.ptp(draws) == 0.0:
        return 1.0 / draws.size  # never seen otherwise: a share of less than one draw
    return float(az.mcse(draws, method=kind))


@pytest.mark.slow
@pytest.mark.statistical
def test_posterior_is_that_of_the_plain_model():
    data = make_data()
    network = network_draws(data, seed=1, draws=1200, tune=400, chains=2, cores=2)
    plain = plain_draws(data, seed=2, draws=2000, tune=800, chains=2, cores=2)
    table = compare(network, plain)
    assert len(table) > 100
    assert table["network"].notna().all() and np.isfinite(table["z"]).all()
    worst = table.loc[table["z"].abs().idxmax()]
    assert abs(worst["z"]) < 4, f"\n{table[table['z'].abs() > 3]}"
    # The scores are standard normal if and only if both samplers are right: neither is too wide.
    assert 0.5 < table["z"].std() < 1.5
    pip = table[table["name"] == "included"]["network"]
    assert pip.max() > 0.95 and pip.min() < 0.4


@pytest.mark.parametrize("given", [np.asarray, lambda data: pm.Data("data", data)])
def test_observed_data_are_in_the_result(given):
    data = np.array([0.5, 1.5, -1.0, 2.0])
    with pm.Model():
        mean = pm.Normal("mean", 0.0, 1.0)
        pm.Normal("seen", mean, 1.0, observed=given(data))
        result = nn.sample(
            draws=5, tune=5, chains=1, cores=1, random_seed=1, progressbar=False, quiet=True
        )
    np.testing.assert_array_equal(result["observed_data"]["seen"], data)

"""Every prior of the alphabet: its conditionals against the model, its posterior against NUTS."""

import arviz as az
import numpy as np
import pandas as pd
import pymc as pm
import pytest

import nnmm_pymc as nn
from nnmm_pymc.steps import assign_steps
from nnmm_pymc.steps.conjugate import ConjugateGibbs

PRIORS = {
    "RRBLUP": nn.RRBLUP(),
    "BayesA": nn.BayesA(),
    "BayesA, scale learned": nn.BayesA(
        nn.Prior("InverseGamma", alpha=2.5, beta=nn.Prior("Gamma", alpha=1.1, beta=2.0))
    ),
    "BayesB": nn.BayesB(inclusion=0.3),
    "BayesC": nn.BayesC(),
    "BayesL": nn.BayesL(),
    "BayesL, fixed": nn.BayesL(lambda_squared=30.0),
}


def small_network(prior, n=50, p=5):
    data = nn.simulate(n, p, 2, activation="identity", n_causal=2, n_chromosomes=1, random_seed=5)
    return nn.Network(
        [nn.Layer("geno", data.genotypes), nn.Layer("omics", data.omics)],
        [nn.Equation("omics ~ 1 + geno", priors={"geno": prior})],
    )


@pytest.mark.parametrize("name", PRIORS)
def test_conditionals_are_those_of_the_model(name):
    """Differences of the update's log density equal differences of the model's."""
    model = small_network(PRIORS[name]).model
    plan = assign_steps(model)
    conditional = plan.conditional
    names = {value: rv.name for value, rv in conditional.rvs.items()}
    point = conditional.prior_points(seed=4, size=1)[0]
    full = model.compile_fn(
        model.logp(jacobian=False), inputs=model.value_vars, point_fn=True, mode="FAST_COMPILE"
    )
    rng = np.random.default_rng(1)
    checked = set()
    for step in plan.compound.methods:
        if not isinstance(step, ConjugateGibbs):
            continue
        conditional.refresh(point)
        for c, (eta, unit) in zip(step.conjugates, step.parameters(point), strict=True):
            shift = rng.normal(0, 0.3, np.shape(point[c.value]))
            moved = point | {c.value: point[c.value] + shift}
            here, there = (
                _log_density(c, eta, np.asarray(unit), q[c.value]) for q in (point, moved)
            )
            assert there - here == pytest.approx(full(moved) - full(point), rel=1e-6, abs=1e-7)
            checked.add(names[c.value])
    assert "omics_residual_variance" in checked
    own = {n for n in names.values() if n.startswith("omics_geno_")}
    assert own <= checked


def _log_density(c, eta, unit, value):
    """Log density of the full conditional, of the untransformed variable."""
    if c.family == "probability":
        v = 1 / (1 + np.exp(-value))
        return np.sum(eta[0] * np.log(v) + eta[1] * np.log1p(-v))
    v = np.exp(value) / unit
    zero = np.zeros(1)
    chi, psi = eta.get(1, zero), eta.get(2, zero)
    return np.sum(eta[0] * np.log(v) - 0.5 * chi / v - 0.5 * psi * v)


@pytest.mark.statistical
@pytest.mark.parametrize("kind", ["BayesA", "BayesL"])
def test_posterior_agrees_with_nuts_on_the_marginal_prior(kind):
    """The variances of single markers integrate out to a t and to a Laplace distribution."""
    prior = {
        "BayesA": nn.BayesA(nn.Prior("InverseGamma", alpha=2.5, beta=0.2)),
        "BayesL": nn.BayesL(lambda_squared=30.0),
    }[kind]
    network = small_network(prior)
    ours = nn.sample(
        network.model,
        draws=4000,
        tune=500,
        chains=2,
        random_seed=1,
        progressbar=False,
        quiet=True,
    )
    node = network.nodes[0]
    x = node.markers[0].genotypes.centred()
    priors = network.priors["omics"]
    with pm.Model():
        mu = pm.Normal("mu", **priors["Intercept"].parameters, shape=2)
        variance = pm.InverseGamma("variance", **priors["residual_variance"].parameters, shape=2)
        if kind == "BayesA":
            effects = pm.StudentT("effects", nu=5, sigma=np.sqrt(2 * 0.2 / 5), shape=(5, 2))
        else:
            scale = pm.math.sqrt(variance / 30.0)
            effects = pm.Laplace("effects", mu=0, b=scale, shape=(5, 2))
        pm.Normal("y", mu + x @ effects, pm.math.sqrt(variance), observed=node.observed)
        plain = pm.sample(
            draws=2000, tune=500, chains=2, cores=2, random_seed=2, progressbar=False, mp_ctx="fork"
        )
    for name, theirs in (("omics_geno", "effects"), ("omics_residual_variance", "variance")):
        a, b = ours["posterior"][name], plain["posterior"][theirs]
        for power in (1, 2):
            mean_a, mean_b = ((v**power).mean(("chain", "draw")).to_numpy() for v in (a, b))
            error = np.hypot(_mcse((a**power).to_numpy()), _mcse((b**power).to_numpy()))
            assert np.abs((mean_a - mean_b) / error).max() < 4.5


def _mcse(values):
    flat = values.reshape(*values.shape[:2], -1)
    errors = [az.mcse(flat[..., i], method="mean") for i in range(flat.shape[-1])]
    return np.reshape(errors, values.shape[2:])


def test_numbers_and_shared_priors_are_fitted_and_predicted():
    """A fixed parameter or one shared by all columns is in the result like any other."""
    data = nn.simulate(60, 20, 3, activation="identity", missing="cells", random_seed=2)
    network = nn.Network(
        [
            nn.Layer("geno", data.genotypes),
            nn.Layer("omics", data.omics),
            nn.Layer("pheno", data.phenotypes),
        ],
        [
            nn.Equation(
                "omics ~ 1 + geno",
                priors={"Intercept": 0.0, "residual_variance": nn.Prior("HalfNormal", dims=())},
            ),
            nn.Equation(
                "y ~ 1 + omics",
                priors={"residual_variance": 0.5, "omics": lambda name: pm.Normal(name, 0, 1)},
            ),
        ],
    )
    result = network.fit(
        draws=20, tune=20, chains=2, cores=1, random_seed=1, progressbar=False, quiet=True
    )
    posterior = result["posterior"]
    assert np.all(posterior["y_residual_variance"] == 0.5)
    assert np.all(posterior["omics_Intercept"] == 0.0)
    assert posterior["y_omics"].shape == (2, 20)
    table = network.predict(result, data.genotypes, data.omics)
    assert np.isfinite(table.select_dtypes("number")).all(axis=None)
    known = nn.breeding_values(result).query("trait == 'y'")["ebv"].to_numpy()
    np.testing.assert_allclose(table["ebv"], known, atol=1e-6)


def test_a_hand_written_model_with_scalar_hyper_parameters_runs():
    data = nn.simulate(60, 20, 2, random_seed=1)
    genotypes = nn.read_genotypes(data.genotypes)
    with pm.Model(coords={"marker": list(genotypes.markers)}) as model:
        inclusion = pm.Beta("inclusion", 1, 1)
        variance = pm.InverseGamma("slab_variance", 2.5, 0.2)
        effects = nn.MarkerEffects("effects", inclusion, variance, dims="marker")
        value = pm.Deterministic("value", nn.genetic_value(genotypes, effects))
        residual = pm.InverseGamma("residual_variance", 2.5, 1.0)
        observed = data.phenotypes["y"].to_numpy()
        pm.Normal("y", value, pm.math.sqrt(residual), observed=observed)
    result = nn.sample(
        model, draws=30, tune=10, chains=2, cores=1, random_seed=1, progressbar=False, quiet=True
    )
    assert result["posterior"]["slab_variance"].shape == (2, 30)
    assert len(nn.marker_effects(result)) == 20


def test_a_misspelt_parameter_is_refused():
    network = nn.Network(
        [nn.Layer("geno", np.eye(4)), nn.Layer("pheno", _numbers())],
        [nn.Equation("y ~ 1 + geno", priors={"Intercept": nn.Prior("Normal", mean=1000)})],
    )
    with pytest.raises(nn.InputError, match="Normal has no parameter 'mean'"):
        network.fit(draws=1)


@pytest.mark.parametrize(
    ("connections", "words"),
    [
        ({"y": ["m9"]}, "'m9'"),
        ({"z": ["m1"]}, "'z'"),
        ({"y": "m1"}, "list of names"),
        ({"gen": {"y": ["m1"]}}, "no term"),
    ],
)
def test_connections_that_name_nothing_are_refused(connections, words):
    layers = [nn.Layer("geno", np.eye(4)), nn.Layer("pheno", _numbers())]
    with pytest.raises(nn.InputError, match=words):
        nn.Network(layers, [nn.Equation("y ~ 1 + geno", connections=connections)])


def _numbers():
    return pd.DataFrame({"y": [1.0, 2.0, 4.0, 3.0]}, index=["1", "2", "3", "4"])

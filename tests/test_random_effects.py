"""Random effects: density, draws, steps, equations, predictions, files."""

import numpy as np
import pandas as pd
import pymc as pm
import pytest
from scipy import sparse, stats

import nnmm_pymc as nn
from nnmm_pymc.checks.random_effects import (
    random_effect_misfits,
    random_scale_misfits,
    shift_misfits,
)
from nnmm_pymc.checks.reference import Reference, State
from nnmm_pymc.kernels.sparse import SparseFactor, conjugate_gradients
from nnmm_pymc.simulation.pedigree import simulate_pedigree
from nnmm_pymc.steps import assign_steps
from nnmm_pymc.steps import random_effects as step_module
from nnmm_pymc.steps.random_effects import RandomEffectGibbs
from nnmm_pymc.steps.relatives import RelativesGibbs

OPTIONS = {"chains": 2, "cores": 1, "random_seed": 1, "progressbar": False, "quiet": True}


def make_pedigree(n=60, seed=1):
    rng = np.random.default_rng(seed)
    rows = simulate_pedigree(n, rng, generations=3, n_sires=4, n_dams=6, unknown=0.02)
    return nn.read_pedigree(rows)


def make_records(pedigree, seed=2, missing=0.0):
    """Two traits with herd, sex, age and additive effects; the founders have no records."""
    rng = np.random.default_rng(seed)
    n = pedigree.n
    herd, sex = rng.integers(0, 5, n), rng.integers(0, 2, n)
    age = rng.uniform(2, 6, n)
    additive = pedigree.draw(rng, 2, variance=0.5)
    y = 3 + sex[:, None] + additive + rng.normal(0, 0.6, (5, 2))[herd] + rng.normal(0, 0.7, (n, 2))
    y[rng.random((n, 2)) < missing] = np.nan
    dam = np.append(pedigree.individuals.to_numpy(object), None)[pedigree.dam]
    frame = pd.DataFrame(y, pedigree.individuals, ["y1", "y2"])
    frame = frame.assign(herd=[f"h{h}" for h in herd], sex=[f"s{s}" for s in sex], age=age, dam=dam)
    return frame[pedigree.dam >= 0]


@pytest.fixture(scope="module")
def pedigree():
    return make_pedigree()


@pytest.fixture(scope="module")
def records(pedigree):
    return make_records(pedigree, missing=0.1)


def network(pedigree, records, equations, **more):
    layers = [nn.Layer("ped", pedigree), nn.Layer("pheno", records)]
    return nn.Network([*layers, *(nn.Layer(k, v) for k, v in more.items())], equations)


# ---------------------------------------------------------------- kernels and distribution


def test_factor_and_conjugate_gradients_solve_and_colour(pedigree):
    q = pedigree.inverse().matrix
    diagonal = np.linspace(0, 3, pedigree.n)
    matrix = (2.5 * q + sparse.diags_array(diagonal)).tocsc()
    factor = SparseFactor(matrix)
    root = factor.times(np.eye(pedigree.n))
    np.testing.assert_allclose(root @ root.T, matrix.toarray(), atol=1e-12)
    assert factor.log_determinant == pytest.approx(np.linalg.slogdet(matrix.toarray())[1])
    right = np.random.default_rng(0).normal(size=pedigree.n)
    wanted = np.linalg.solve(matrix.toarray(), right)
    np.testing.assert_allclose(factor.solve(right), wanted, rtol=1e-10)
    found = np.ones(pedigree.n)
    system = (q.indptr, q.indices, q.data, 2.5, diagonal, right)
    assert conjugate_gradients(*system, found, 1e-12, 500) > 0
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)
    assert conjugate_gradients(*system, np.ones(pedigree.n), 1e-12, 2) == -1


def test_a_matrix_that_is_not_positive_definite_has_no_factor():
    with pytest.raises(np.linalg.LinAlgError):
        SparseFactor(sparse.csc_array([[1.0, 2.0], [2.0, 1.0]]))
    with pytest.raises(nn.InputError, match="not positive definite"):
        nn.Precision.of([[1.0, 2.0], [2.0, 1.0]], ["a", "b"])
    with pytest.raises(nn.InputError, match="not symmetric"):
        nn.Precision.of([[1.0, 0.5], [0.2, 1.0]], ["a", "b"])
    with pytest.raises(nn.InputError, match="names of its rows"):
        nn.Precision.of(np.eye(2))


@pytest.mark.parametrize("kind", ["pedigree", "matrix", "independent"])
def test_log_density_is_that_of_a_multivariate_normal(pedigree, kind):
    relationship = pedigree.relationship().to_numpy()
    given = {
        "pedigree": pedigree,
        "matrix": nn.Precision.of(np.linalg.inv(relationship), pedigree.individuals),
        "independent": None,
    }[kind]
    covariance = np.eye(pedigree.n) if given is None else relationship
    effects = nn.RandomEffects.dist(np.array([0.7, 2.0]), given, shape=(pedigree.n, 2))
    u = np.random.default_rng(3).normal(size=(pedigree.n, 2))
    found = pm.logp(effects, u).sum().eval()
    wanted = sum(
        stats.multivariate_normal(cov=v * covariance).logpdf(u[:, k])
        for k, v in enumerate([0.7, 2.0])
    )
    assert found == pytest.approx(wanted, rel=1e-9)


@pytest.mark.statistical
@pytest.mark.parametrize("kind", ["pedigree", "matrix"])
def test_prior_draws_have_the_covariance_of_relatives(kind):
    pedigree = make_pedigree(60, seed=4)
    relationship = pedigree.relationship().to_numpy()
    given = pedigree
    if kind == "matrix":
        given = nn.Precision.of(np.linalg.inv(relationship), pedigree.individuals)
    draws = pm.draw(nn.RandomEffects.dist(2.0, given, shape=(pedigree.n, 4000)), random_seed=5)
    error = np.cov(draws) - 2.0 * relationship
    variance = 4.0 * (relationship**2 + np.outer(*[np.diag(relationship)] * 2)) / 4000
    # Averages of squared z scores: far above one if the covariance were another.
    assert 0.8 < np.mean(error**2 / variance) < 1.25


# ---------------------------------------------------------------- steps


EQUATIONS = {
    "independent": "y1 + y2 ~ 1 + sex + (1|herd)",
    "slope": "y1 + y2 ~ 1 + age + (age|herd)",
    "slope alone": "y1 + y2 ~ 1 + (0+age|herd)",
    "pedigree": "y1 + y2 ~ 1 + ped + (1|herd)",
    "maternal": "y1 ~ 1 + ped + ped(dam)",
}


@pytest.mark.parametrize(
    ("kind", "solver"),
    [
        ("independent", "none"),
        ("slope", "none"),
        ("slope alone", "none"),
        ("pedigree", "factor"),
        ("pedigree", "conjugate gradients"),
        ("maternal", "conjugate gradients"),
    ],
)
def test_steps_draw_from_the_density_of_the_model(pedigree, records, kind, solver, monkeypatch):
    monkeypatch.setattr(step_module, "FEW_ELEMENTS", 10**6 if solver == "factor" else 0)
    records = records[records["dam"].notna()]
    layers = [nn.Layer("pheno", records)]
    if "ped" in EQUATIONS[kind]:
        layers.append(nn.Layer("ped", pedigree))
    model = nn.Network(layers, EQUATIONS[kind]).model
    plan = assign_steps(model)
    assert "nuts" not in str(plan)
    rng = np.random.default_rng(1)
    reference = Reference(model)
    (point,) = plan.conditional.prior_points(1, 1)
    for step in plan.compound.methods:
        if isinstance(step, RandomEffectGibbs | RelativesGibbs):
            state = State(reference, point, {}, rng)
            found = [*random_effect_misfits(step, state), *random_scale_misfits(step, state)]
            own = step.outer if isinstance(step, RelativesGibbs) else step
            assert (own.shift is None) is (kind == "slope alone")
            if own.shift is not None:
                found += shift_misfits(step, state)
            assert found and max(misfit for _, misfit in found) < 1e-6
        point, _ = step.step(point)


def test_check_conditionals_covers_the_other_variables(pedigree, records):
    table = nn.check_conditionals(network(pedigree, records, EQUATIONS["pedigree"]), points=2)
    assert table["ok"].fillna(True).all()
    held = table[table["step"] == "held_value"].set_index("variable")["difference"]
    assert (held[["y1+y2_ped", "y1+y2_1|herd"]] < 1e-12).all()


def test_an_ill_conditioned_system_falls_back_on_a_factor(pedigree, records, monkeypatch):
    monkeypatch.setattr(step_module, "FEW_ELEMENTS", 0)
    model = network(pedigree, records, "y1 ~ 1 + ped").model
    plan = assign_steps(model)
    step = next(s for s in plan.compound.methods if isinstance(s, RelativesGibbs))
    (point,) = plan.conditional.prior_points(1, 1)
    draws = []
    for most in (2_000, 1):
        monkeypatch.setattr(step_module, "MOST_ITERATIONS", most)
        step.rng = np.random.default_rng(4)
        draws.append(step.step(point)[0]["y1_ped"])
    np.testing.assert_allclose(*draws, rtol=1e-7, atol=1e-9)


def test_a_likelihood_that_is_not_gaussian_is_refused():
    with pm.Model(coords={"herd": ["a", "b"]}) as model:
        effects = nn.RandomEffects("herd_effect", 0.5, dims="herd")
        value = pm.Deterministic("value", nn.level_value(effects, [0, 0, 1]))
        pm.Poisson("count", pm.math.exp(value), observed=[1, 2, 3])
    with pytest.raises(nn.InputError, match="not Gaussian"):
        assign_steps(model)


def test_a_value_without_a_name_is_refused():
    with pm.Model(coords={"herd": ["a", "b"]}) as model:
        effects = nn.RandomEffects("herd_effect", 0.5, dims="herd")
        pm.Normal("y", nn.level_value(effects, [0, 0, 1]), 1.0, observed=np.zeros(3))
    with pytest.raises(nn.InputError, match="has no name"):
        assign_steps(model)
    with pytest.raises(nn.InputError, match="not one of its 2"), model:
        nn.level_value(effects, [0, 2])


# ---------------------------------------------------------------- posterior


def henderson(pedigree, records, variances):
    """Solutions and the inverse of Henderson's mixed-model equations, dense: 1, herds, animals."""
    y = records["y1"].dropna()
    herds = sorted(records["herd"].unique())
    z_herd = (records.loc[y.index, "herd"].to_numpy()[:, None] == herds).astype(float)
    z_animal = np.zeros((len(y), pedigree.n))
    z_animal[np.arange(len(y)), pedigree.positions(y.index)] = 1.0
    w = np.column_stack([np.ones(len(y)), z_herd, z_animal])
    left = w.T @ w / variances["residual"]
    h = slice(1, 1 + len(herds))
    left[h, h] += np.eye(len(herds)) / variances["herd"]
    left[1 + len(herds) :, 1 + len(herds) :] += (
        pedigree.inverse().matrix.toarray() / variances["ped"]
    )
    inverse = np.linalg.inv(left)
    return inverse @ (w.T @ y / variances["residual"]), inverse


@pytest.mark.statistical
def test_posterior_at_fixed_variances_is_that_of_hendersons_equations(pedigree, records):
    variances = {"ped": 0.5, "herd": 0.4, "residual": 0.6}
    priors = {"Intercept": nn.Prior("Flat"), "residual_variance": 0.6, "ped": 0.5, "1|herd": 0.4}
    equation = nn.Equation("y1 ~ 1 + (1|herd) + ped", priors=priors)
    result = network(pedigree, records, equation).fit(draws=1000, tune=100, **OPTIONS)
    wanted, inverse = henderson(pedigree, records, variances)
    posterior = result["posterior"].dataset
    draws = np.concatenate(
        [
            posterior[n].to_numpy().reshape(2000, -1)
            for n in ("y1_Intercept", "y1_1|herd", "y1_ped")
        ],
        axis=1,
    )
    # Draws are correlated through the intercept: as many as 500 independent ones, at least.
    z = (draws.mean(axis=0) - wanted) / np.sqrt(np.diag(inverse) / 500)
    assert np.abs(z).max() < 4
    np.testing.assert_allclose(draws.var(axis=0), np.diag(inverse), rtol=0.25)
    table = nn.breeding_values(result).set_index("individual")
    error = np.diag(inverse)[-pedigree.n :]
    np.testing.assert_allclose(table["pev"], error, rtol=0.3)
    reliability = 1 - error / (0.5 * (1 + pedigree.inbreeding))
    np.testing.assert_allclose(table["reliability"], reliability, atol=0.2)


def test_a_model_of_ones_own_is_sampled():
    rng = np.random.default_rng(0)
    herd = np.repeat(np.arange(6), 8)
    y = rng.normal(size=6)[herd] + 0.3 * rng.normal(size=48)
    with pm.Model(coords={"herd": np.arange(6)}) as model:
        variance = pm.HalfNormal("variance", 1.0)
        effects = nn.RandomEffects("effect", variance, dims="herd")
        value = pm.Deterministic("value", nn.level_value(effects, herd))
        pm.Normal("y", value, 0.3, observed=y)
    result = nn.sample(model, draws=300, tune=100, **OPTIONS)
    means = result["posterior"]["effect"].mean(("chain", "draw")).to_numpy()
    np.testing.assert_allclose(means, [y[herd == h].mean() for h in range(6)], atol=0.1)


# ---------------------------------------------------------------- networks


@pytest.fixture(scope="module")
def fitted(pedigree, records):
    equations = "y1 ~ 1 + sex + (1|herd) + (0+age|herd) + ped"
    own = network(pedigree, records, equations)
    return own, own.fit(draws=100, tune=50, **OPTIONS)


def test_variables_and_tables_are_named_after_the_terms(fitted, pedigree):
    own, result = fitted
    names = set(own.model.named_vars)
    assert {"y1_ped", "y1_ped_variance", "y1_ped_value", "y1_1|herd", "y1_age|herd"} <= names
    table = nn.variance_components(result).set_index("component")
    assert set(table.index) == {"ped", "1|herd", "age|herd", "residual"}
    assert table["share"].sum() == pytest.approx(1.0)
    assert nn.breeding_values(result)["individual"].tolist() == pedigree.individuals.tolist()
    assert 0 < nn.heritability(result)["mean"].iloc[0] < 1


def test_a_result_read_back_predicts_the_same(fitted, records, tmp_path):
    own, result = fitted
    nn.save(result, tmp_path)
    table = records[["sex", "age", "herd"]]
    wanted = own.predict(result, covariates=table)
    pd.testing.assert_frame_equal(nn.predict_network(nn.load(tmp_path), covariates=table), wanted)


def test_levels_that_were_not_seen_have_their_prior(fitted, records):
    own, result = fitted
    seen = records[["sex", "age", "herd"]].iloc[:40].assign(age=0.0)
    unseen = seen.assign(herd="elsewhere")
    known, new = (own.predict(result, covariates=t, random_seed=3) for t in (seen, unseen))
    assert new["prediction_sd"].mean() > known["prediction_sd"].mean()
    np.testing.assert_allclose(known["ebv"], new["ebv"])
    posterior = result["posterior"].dataset
    herd = posterior["y1_1|herd"].mean(("chain", "draw")).to_series().droplevel("trait")
    apart = known["prediction"] - new["prediction"]
    wanted = seen["herd"].map(herd).to_numpy()
    # Both are means over the same draws, but the unseen herd is drawn.
    assert np.corrcoef(apart, wanted)[0, 1] > 0.5
    lacking = own.predict(result, covariates=seen.assign(herd=None), random_seed=3)
    pd.testing.assert_frame_equal(lacking, new)


def test_who_cannot_be_predicted_is_named(fitted, records):
    own, result = fitted
    table = records[["sex", "age", "herd"]].iloc[:2]
    with pytest.raises(nn.InputError, match="'ped' of the fit \\(nobody\\)"):
        own.predict(result, covariates=table.rename(index={table.index[0]: "nobody"}))
    with pytest.raises(nn.InputError, match=r"None of the individuals \(0, 1\) .*set_index"):
        own.predict(result, covariates=table.reset_index(drop=True))
    with pytest.raises(nn.InputError, match="is a level that the fit did not see"):
        own.predict(result, covariates=table.assign(sex="s9"))
    with pytest.raises(nn.InputError, match="no column 'herd'"):
        own.predict(result, covariates=table[["sex", "age"]])


def test_cross_validation_and_prior_checks_know_random_effects(pedigree, records):
    own = network(pedigree, records, "y1 ~ 1 + (1|herd) + ped")
    options = {"chains": 1, "progressbar": False, "quiet": True}
    folds = nn.cross_validate(own, cv=2, random_seed=1, draws=50, tune=20, **options)
    assert np.isfinite(folds["log_density"]).all()
    implied = nn.implied_prior(own, draws=40, random_seed=1)
    assert implied["mean"].between(0.05, 0.6).all()


def test_a_precision_and_single_step_stand_beside_genotypes(pedigree, records):
    data = nn.simulate(40, 60, 2, random_seed=1)
    genotypes = data.genotypes.set_axis(pedigree.individuals[-40:])
    h = nn.single_step(pedigree, nn.read_genotypes(genotypes))
    own = network(h, records, "y1 ~ 1 + ped")
    result = own.fit(draws=30, tune=20, **OPTIONS)
    assert len(nn.breeding_values(result)) == pedigree.n
    both = network(pedigree, records, "y1 ~ 1 + geno + ped", geno=genotypes)
    assert set(both.individuals) <= set(genotypes.index)
    result = both.fit(draws=30, tune=20, **OPTIONS)
    assert len(nn.breeding_values(result)) == 40
    predicted = both.predict(result, genotypes.iloc[:5])
    assert predicted["individual"].tolist() == genotypes.index[:5].tolist()
    shares = nn.mediated_heritability(result, genotypes).set_index("part")["share"]
    assert shares["direct"] == pytest.approx(1.0)


def test_a_pedigree_is_told_from_genotypes_by_its_columns(pedigree, records, tmp_path):
    frame = pedigree.to_frame()[["individual", "sire", "dam"]]
    frame.to_csv(tmp_path / "ped.csv", index=False)
    for given in (frame, tmp_path / "ped.csv"):
        own = network(given, records, "y1 ~ 1 + ped")
        assert isinstance(own.kinships["ped"], nn.Pedigree)


def test_a_network_with_random_effects_is_saved_and_loaded(pedigree, records, tmp_path):
    priors = {"1|herd": nn.Prior("HalfNormal", sigma=2.0)}
    records = records[records["dam"].notna()]
    own = network(pedigree, records, nn.Equation("y1 ~ 1 + (1|herd) + ped(dam)", priors=priors))
    nn.save_model(own, tmp_path / "maternal.toml")
    read = nn.load_model(tmp_path / "maternal.toml")
    assert read.equations[0].formula == own.equations[0].formula
    again = read.network(ped=pedigree, pheno=records)
    assert set(again.model.named_vars) == set(own.model.named_vars)
    (tmp_path / "bad.toml").write_text(
        'name = "bad"\nsummary = ""\n[[equation]]\nformula = "y ~ 1 + ped(dam)"\n'
    )
    with pytest.raises(nn.InputError, match="function 'ped' is not allowed"):
        nn.load_model(tmp_path / "bad.toml")


@pytest.mark.parametrize(
    ("formula", "words"),
    [
        ("y1 ~ 1 + ped + (1|country)", "'country' is neither a layer"),
        ("y1 ~ 1 + (1|log(age))", "write \\(1\\|column\\)"),
        ("y1 ~ 1 + ped + (0+sex|herd)", "is not a number"),
        ("y1 ~ 1 + tanh(ped)", "'tanh\\(ped\\)' is not understood"),
        ("y1 ~ 1 + ped(herd)", "5 of those in column 'herd' are not in 'ped'"),
        ("ped ~ 1 + (1|herd)", "relationship layer 'ped' has no model"),
        ("y1 ~ 1 + (1|one) + ped", "has 1 level"),
        ("y1 ~ 1 + (1|partly) + ped", "'partly' of term '1|partly' is missing for"),
        ("y1 ~ 1 + (1|herd)", "Layer 'ped' is used by no equation"),
        ("y1 ~ 1 + one + ped", "'one' is the same in all .* leave the term out"),
        ("y1 ~ 1 + unit + ped", "'unit' is the same in all"),
        ("y1 ~ 1 + known + ped", "'known' is the same in all"),
        (
            "y1 ~ 1 + ped + ped(blank)",
            "'blank' of term .* give everybody whose parent",
        ),
        ("y1 ~ 1 + ped + ped(zero)", "'0' in column 'zero' names nobody in 'ped'; give everybody"),
    ],
)
def test_terms_that_cannot_be_are_refused(pedigree, records, formula, words):
    records = records.assign(
        one="a",
        unit=1.0,
        known=np.where(records["y1"].isna(), "no", "yes"),
        partly=records["herd"].where(records["age"] < 5),
        blank=records["dam"].where(records["age"] < 5),
        zero=records["dam"].where(records["age"] < 5, "0"),
    )
    with pytest.raises(nn.InputError, match=words):
        network(pedigree, records, formula)


def test_individuals_absent_from_the_pedigree_are_named(pedigree, records):
    stranger = records.rename(index={records.index[0]: "stranger"})
    with pytest.raises(nn.InputError, match=r"1 individuals of the model .*stranger"):
        network(pedigree, stranger, "y1 ~ 1 + ped")


def test_ids_in_a_column_are_said_to_be_no_index(pedigree, records):
    with pytest.raises(nn.InputError, match=r"none of the individuals .* table\.set_index"):
        network(pedigree, records.reset_index(names="animal"), "y1 ~ 1 + ped")


def test_terms_that_say_the_same_are_warned_of(pedigree, records):
    doubled = records.assign(again=records["herd"])
    with pytest.warns(UserWarning, match="'again' is in part a combination of the terms before"):
        network(pedigree, doubled, "y1 ~ 1 + herd + again + ped")


def test_a_prior_of_marker_effects_is_refused(pedigree, records):
    equation = nn.Equation("y1 ~ 1 + ped", priors={"ped": nn.BayesC()})
    with pytest.raises(nn.InputError, match="one of their variance"):
        _ = network(pedigree, records, equation).model


# ---------------------------------------------------------------- through omics


def omics_network(n=500, seed=1):
    """Three omics with pedigree, herd and litter effects, 30 % missing, act on y through tanh."""
    pedigree = make_pedigree(n, seed)
    rng = np.random.default_rng(seed)
    herd, litter = rng.integers(0, 20, n), rng.integers(0, n // 5, n)

    def parts(k):
        return (
            pedigree.draw(rng, k, variance=0.5)
            + rng.normal(0, 0.5, (20, k))[herd]
            + rng.normal(0, 0.4, (n // 5, k))[litter]
            + rng.normal(0, 0.5, (n, k))
        )

    omics, weights = parts(3), np.array([1.5, -1.0, 0.5])
    y = 1.0 + np.tanh(omics) @ weights + 0.7 * parts(1)[:, 0]
    omics[rng.random(omics.shape) < 0.3] = np.nan
    frame = pd.DataFrame(omics, pedigree.individuals, ["o1", "o2", "o3"])
    records = pd.DataFrame(
        {"y": y, "herd": [f"h{k}" for k in herd], "litter": [f"l{k}" for k in litter]},
        pedigree.individuals,
    )
    terms = "(1|herd) + (1|litter) + ped"
    layers = {"ped": pedigree, "omics": frame, "pheno": records}
    equations = [f"omics ~ 1 + {terms}", f"y ~ 1 + tanh(omics) + {terms}"]
    return nn.Network([nn.Layer(k, v) for k, v in layers.items()], equations), weights


def test_random_effects_in_every_equation_of_a_network():
    own, weights = omics_network(200)
    result = own.fit(draws=80, tune=80, **OPTIONS)
    found = nn.weights(result)
    inside = (found["mean"] - weights).abs() < 4 * found["sd"]
    assert inside.all()
    values = nn.breeding_values(result)
    # That of one individual from 80 correlated draws is rough; below zero, even.
    assert values["reliability"].notna().all() and values["reliability"].max() <= 1
    assert 0.2 < values["reliability"].mean() < 0.8
    assert len(values) == 4 * 200

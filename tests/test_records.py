"""Several records of an individual, and known weights."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import nnmm_pymc as nn
from nnmm_pymc.data.records import RecordTable
from nnmm_pymc.data.weighted import scaled_rows
from nnmm_pymc.simulation.pedigree import simulate_pedigree

OPTIONS = {"chains": 2, "cores": 1, "random_seed": 1, "progressbar": False, "quiet": True}


@pytest.fixture(scope="module")
def data():
    """50 cows with one to four milk records, genotypes, a pedigree, and an omic each."""
    rng = np.random.default_rng(1)
    rows = simulate_pedigree(50, rng, generations=2, n_sires=4, n_dams=6)
    pedigree = nn.read_pedigree(rows)
    simulated = nn.simulate(50, 40, 2, missing="cells", random_seed=2)
    genotypes = simulated.genotypes.set_axis(pedigree.individuals)
    omics = simulated.omics.set_axis(pedigree.individuals)
    owner = np.repeat(np.arange(50), rng.integers(1, 5, 50))
    rng.shuffle(owner)
    n = len(owner)
    value = pedigree.draw(rng, variance=0.5) + 0.5 * rng.normal(size=50)
    month = rng.integers(0, 3, n)
    records = pd.DataFrame(
        {
            "cow": pedigree.individuals[owner],
            "milk": 5 + value[owner] + 0.3 * month + 0.5 * rng.normal(size=n),
            "month": [f"m{m}" for m in month],
            "weight": rng.uniform(0.5, 4.0, n),
        }
    )
    records.loc[3, "milk"] = np.nan
    return pedigree, genotypes, omics, records


def network(data, equation):
    pedigree, genotypes, _, records = data
    layers = [nn.Layer("pheno", records, individual="cow")]
    for name, given in {"ped": pedigree, "geno": genotypes}.items():
        if name in str(equation):
            layers.append(nn.Layer(name, given))
    return nn.Network(layers, equation)


def test_records_are_told_apart_from_individuals(data):
    records = data[3]
    table = RecordTable(records, individual="cow")
    assert len(table.frame) == len(records)
    assert set(table.individuals) == set(records["cow"])
    with pytest.raises(nn.InputError, match="no column 'horse'"):
        RecordTable(records, individual="horse")
    with pytest.raises(nn.InputError, match="record 2 has no individual"):
        RecordTable(records.assign(cow=["a", "", *records["cow"][2:]]), individual="cow")


def test_likelihood_is_that_of_the_records(data):
    pedigree, genotypes, _, records = data
    equation = nn.Equation("milk ~ 1 + month + (1|cow) + ped + geno", weights="weight")
    model = network(data, equation).model
    rng = np.random.default_rng(0)
    point = {k: rng.normal(0, 0.3, np.shape(v)) for k, v in model.initial_point().items()}
    logp = model.compile_logp(vars=model["milk_observed"], mode="FAST_COMPILE")(point)
    z = genotypes.to_numpy() - genotypes.to_numpy().mean(axis=0)
    owner = pedigree.individuals.get_indexer(records["cow"])
    cows = sorted(records["cow"].unique())
    mean = point["milk_Intercept"][0] + (z @ point["milk_geno"])[owner, 0]
    mean = mean + point["milk_ped"][owner, 0]
    mean = mean + point["milk_1|cow"][pd.Index(cows).get_indexer(records["cow"]), 0]
    months = (records["month"].to_numpy()[:, None] == ["m1", "m2"]).astype(float)
    mean = mean + (months @ point["milk_month"])[:, 0]
    sd = np.sqrt(np.exp(point["milk_residual_variance_log__"][0]) / records["weight"])
    wanted = stats.norm.logpdf(records["milk"], mean, sd)
    assert logp == pytest.approx(np.nansum(wanted), rel=1e-6)


@pytest.mark.parametrize(
    ("prior", "weights"), [("BayesC", None), ("BayesC", "weight"), ("GBLUP", "weight")]
)
def test_every_step_draws_from_the_density_of_the_model(data, weights, prior):
    priors = {"geno": getattr(nn, prior)()}
    equation = nn.Equation("milk ~ 1 + (1|cow) + geno", priors=priors, weights=weights)
    table = nn.check_conditionals(network(data, equation), points=1)
    steps = set(table["step"])
    assert {"marker_gibbs", "random_effect_gibbs", "gaussian_gibbs", "conjugate_gibbs"} <= steps
    assert table["ok"].fillna(True).all(), table


def test_marker_effects_of_repeated_records_are_those_of_weighted_means(data):
    """At fixed variances: ridge regression of all records, dense."""
    _, genotypes, _, records = data
    priors = {
        "geno": nn.RRBLUP(slab_variance=0.05),
        "residual_variance": 0.4,
        "Intercept": nn.Prior("Flat"),
    }
    equation = nn.Equation("milk ~ 1 + geno", priors=priors)
    result = network(data, equation).fit(draws=1200, tune=100, **OPTIONS)
    known = records.dropna(subset="milk")
    z = genotypes.to_numpy() - genotypes.to_numpy().mean(axis=0)
    w = np.column_stack([np.ones(len(known)), z[genotypes.index.get_indexer(known["cow"])]])
    left = w.T @ w / 0.4 + np.diag([0.0, *np.full(z.shape[1], 1 / 0.05)])
    wanted = np.linalg.solve(left, w.T @ known["milk"] / 0.4)[1:]
    sd = np.sqrt(np.diag(np.linalg.inv(left)))[1:]
    effects = nn.marker_effects(result).set_index("marker").loc[genotypes.columns]
    # As many as 300 independent draws, at least.
    assert np.abs((effects["mean"] - wanted) / sd).max() < 4 / np.sqrt(300)
    np.testing.assert_allclose(effects["sd"], sd, rtol=0.2)


def test_a_repeatability_model_is_fitted_and_predicted(data, tmp_path):
    own = network(data, "milk ~ 1 + month + (1|cow) + ped")
    result = own.fit(draws=100, tune=50, **OPTIONS)
    table = nn.repeatability(result)
    components = nn.variance_components(result).set_index("component")["share"]
    assert table["mean"].iloc[0] == pytest.approx(components[["ped", "1|cow"]].sum())
    assert table["lower"].iloc[0] < table["mean"].iloc[0] < table["upper"].iloc[0]
    new = data[3][["cow", "month"]].drop_duplicates("cow").set_index("cow", drop=False)
    predicted = own.predict(result, covariates=new)
    assert len(predicted) == len(new)
    nn.save(result, tmp_path)
    again = nn.predict_network(nn.load(tmp_path), covariates=new)
    pd.testing.assert_frame_equal(again, predicted)
    unknown = own.predict(result, covariates=new.assign(cow="other"))
    assert unknown["prediction_sd"].mean() > predicted["prediction_sd"].mean()


def test_omics_act_on_the_records_of_an_individual(data):
    _, genotypes, omics, records = data
    omics = omics.fillna(0.0)
    layers = [nn.Layer("geno", genotypes), nn.Layer("omics", omics)]
    layers.append(nn.Layer("pheno", records, individual="cow"))
    own = nn.Network(layers, ["omics ~ 1 + geno", "milk ~ 1 + tanh(omics)"])
    point = own.model.initial_point() | {"milk_omics": np.array([[1.0], [-2.0]])}
    logp = own.model.compile_logp(vars=own.model["milk_observed"], mode="FAST_COMPILE")(point)
    mean = point["milk_Intercept"][0] + np.tanh(omics.loc[records["cow"]]) @ [1.0, -2.0]
    sd = np.exp(0.5 * point["milk_residual_variance_log__"][0])
    wanted = np.nansum(stats.norm.logpdf(records["milk"].to_numpy(), mean.to_numpy(), sd))
    assert logp == pytest.approx(wanted, rel=1e-9)
    assert "marker_gibbs" in str(nn.assign_steps(own.model))


def test_records_come_from_a_file_too(data, tmp_path):
    data[3].to_csv(tmp_path / "milk.csv", index=False)
    own = nn.Network(
        nn.Layer("pheno", tmp_path / "milk.csv", individual="cow"), "milk ~ 1 + month + (1|cow)"
    )
    assert own.nodes[0].observed.shape == (len(data[3]), 1)
    assert own.model["milk_1|cow_value"].eval().shape == (len(data[3]), 1)


def test_what_records_cannot_do_is_refused(data):
    _, genotypes, omics, records = data
    given = [nn.Layer("pheno", records, individual="cow"), nn.Layer("omics", omics)]
    with pytest.raises(nn.InputError, match="so no other equation can depend on it"):
        nn.Network(given, ["milk ~ 1 + (1|cow)", "omics ~ 1 + milk"])
    with pytest.raises(nn.InputError, match="has several records of an individual"):
        nn.Network(given, ["milk ~ 1 + (1|cow)", "omics ~ 1 + month"])
    two = records.assign(fat=records["milk"].where(np.arange(len(records)) % 2 == 0))
    layers = [nn.Layer("geno", genotypes), nn.Layer("pheno", two, individual="cow")]
    with pytest.raises(nn.InputError, match="different numbers of records"):
        _ = nn.Network(layers, "milk + fat ~ 1 + geno").model
    bad = nn.Equation("milk ~ 1 + (1|cow)", weights="weight")
    table = records.assign(weight=-1.0)
    with pytest.raises(nn.InputError, match="weight 'weight' is missing or not positive"):
        nn.Network(nn.Layer("pheno", table, individual="cow"), bad)
    own = nn.Network(nn.Layer("pheno", records, individual="cow"), "milk ~ 1 + (1|cow)")
    with pytest.raises(nn.InputError, match="withheld only where they are Gaussian"):
        nn.cross_validate(own, cv=2)


def test_scaled_rows_are_centred_dosages_times_their_factor(data):
    genotypes = nn.read_genotypes(data[1])
    factor = np.linspace(0.5, 2, genotypes.n)
    scaled = scaled_rows(genotypes, factor)
    np.testing.assert_allclose(
        scaled.centred(), genotypes.centred() * factor[:, None], rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("cows", [[1.0, 1.0, 2.0], ["1.0", "1.0", "2.0"]])
def test_numbers_of_individuals_are_named_as_in_other_tables(tmp_path, cows):
    """A column of floats writes 1 as 1.0."""
    records = pd.DataFrame({"cow": cows, "milk": [30.0, 32.0, 28.0]})
    records.to_csv(tmp_path / "milk.csv", index=False)
    for source in (records, tmp_path / "milk.csv"):
        assert nn.io.records.read_records(source, "cow").owners.tolist() == ["1", "1", "2"]

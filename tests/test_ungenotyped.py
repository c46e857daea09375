"""Individuals without genotypes: what of their data counts, and where."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import nnmm_pymc as nn
from nnmm_pymc.screen import predictive_checks

N, GENOTYPED = 60, 40
OPTIONS = {"chains": 2, "cores": 1, "random_seed": 1, "progressbar": False, "quiet": True}


@pytest.fixture(scope="module")
def data():
    return nn.simulate(N, 20, 3, activation="tanh", random_seed=4)


def network_of(data, equations=("omics ~ 1 + geno", "y ~ 1 + tanh(omics)"), **changed):
    given = {
        "geno": data.genotypes.iloc[:GENOTYPED],
        "omics": data.omics,
        "pheno": data.phenotypes,
    } | changed
    return nn.Network([nn.Layer(k, v) for k, v in given.items()], list(equations))


def partly(data, rows, columns):
    omics = data.omics.copy()
    omics.iloc[rows, columns] = np.nan
    return omics


def test_they_count_in_equations_without_markers_and_in_no_other(data):
    network = network_of(data, omics=partly(data, [2, 50], [1]))
    kept = list(data.omics.index.delete(50))
    assert list(network.individuals) == kept
    assert "Kept without genotypes, for the equations that need none: 19" in str(network.alignment)
    assert f"Dropped, no genotypes in 'geno': 1 ({data.omics.index[50]})." in str(network.alignment)
    model, point = network.model, network.model.initial_point()
    rng = np.random.default_rng(0)
    point = {name: rng.normal(size=value.shape) for name, value in point.items()}
    z = partly(data, [2], [1]).loc[kept].to_numpy().copy()
    z[2, 1] = point["omics_missing"][0]
    genetic = network.nodes[0].markers[0].genotypes.centred() @ point["omics_geno"]
    assert not genetic[GENOTYPED:].any()
    sd = np.exp(0.5 * point["omics_residual_variance_log__"])
    density = stats.norm.logpdf(z, point["omics_Intercept"] + genetic, sd)[:GENOTYPED]
    y = data.phenotypes["y"].loc[kept].to_numpy()
    mean = point["y_Intercept"][0] + np.tanh(z) @ point["y_omics"][:, 0]
    traits = stats.norm.logpdf(y, mean, np.exp(0.5 * point["y_residual_variance_log__"][0]))
    variables = [model[name] for name in ("omics_observed", "omics_missing", "y")]
    found = model.compile_logp(vars=variables, mode="FAST_COMPILE", jacobian=False)(point)
    assert found == pytest.approx(density.sum() + traits.sum(), rel=1e-5)


def test_every_step_draws_from_its_conditional(data):
    network = network_of(data, omics=partly(data, [2, 5, 50], [1]))
    assert nn.check_conditionals(network)["ok"].fillna(True).all()


@pytest.mark.parametrize("prior", [nn.GBLUP(), nn.BayesC()])
def test_relationships_are_those_of_the_genotyped(prior, data):
    equations = [nn.Equation("omics ~ 1 + geno", priors={"geno": prior}), "y ~ 1 + tanh(omics)"]
    network = network_of(data, equations)
    assert nn.check_conditionals(network)["ok"].fillna(True).all()
    if isinstance(prior, nn.GBLUP):
        rows = network.nodes[0].markers[0].relationship.eigenvectors.centred()
        assert np.abs(rows[GENOTYPED:]).max() < 1e-5
        assert np.mean(np.sum(rows[:GENOTYPED] ** 2, axis=1)) == pytest.approx(1.0, rel=1e-4)


@pytest.mark.parametrize(
    "equations", [("omics ~ 1 + geno", "y ~ 1 + tanh(omics) + geno"), ("y ~ 1 + geno",)]
)
def test_they_are_dropped_where_every_equation_needs_genotypes(equations, data):
    layers = {} if "omics" in equations[0] else {"omics": None}
    given = {"geno": data.genotypes.iloc[:GENOTYPED], "omics": data.omics, **layers}
    network = nn.Network(
        [nn.Layer(k, v) for k, v in given.items() if v is not None]
        + [nn.Layer("pheno", data.phenotypes)],
        list(equations),
    )
    assert len(network.individuals) == GENOTYPED
    assert f"Dropped, no genotypes in 'geno': {N - GENOTYPED}" in str(network.alignment)


def test_what_lies_between_may_be_missing_where_no_markers_act(data):
    """Metabolites follow omics, so those of an individual without genotypes are an unknown."""
    rng = np.random.default_rng(1)
    names = ["m1", "m2"]
    values = data.omics.to_numpy() @ rng.normal(size=(3, 2)) + rng.normal(size=(N, 2))
    metabolites = pd.DataFrame(values, data.omics.index, names)
    metabolites.iloc[[3, 45], 0] = np.nan
    network = network_of(
        data,
        ["omics ~ 1 + geno", "metabolites ~ 1 + omics", "y ~ 1 + metabolites"],
        metabolites=metabolites,
    )
    middle = next(n for n in network.nodes if n.name == "metabolites")
    assert len(network.individuals) == N
    assert list(zip(*np.nonzero(middle.latent), strict=True)) == [(3, 0), (45, 0)]
    assert nn.check_conditionals(network)["ok"].fillna(True).all()


def test_fits_comparisons_and_validation_take_them(data):
    network = network_of(data)
    result = network.fit(draws=40, tune=40, **OPTIONS)
    table = nn.breeding_values(result)
    assert set(table["individual"]) == set(data.genotypes.index[:GENOTYPED])
    density = nn.phenotype_log_likelihood(network, result)["log_likelihood"]["phenotypes"]
    assert density.sizes["individual"] == N and np.isfinite(density).all()
    assert len(predictive_checks(network, result))
    found = nn.cross_validate(network, 2, draws=20, tune=20, **OPTIONS)
    assert len(found)


def test_genetic_values_are_as_without_them(data):
    """Omics that all are observed keep apart what either says: of markers, and of weights."""
    few = network_of(
        data,
        omics=data.omics.iloc[:GENOTYPED],
        pheno=data.phenotypes.iloc[:GENOTYPED],
    )
    all_of_them, part = (n.priors["omics"]["geno"] for n in (network_of(data), few))
    assert repr(all_of_them) == repr(part)


def test_repeated_records_above_others_are_refused_as_ever(data):
    records = data.omics.iloc[[*range(N), 0]].rename_axis("cow").reset_index()
    with pytest.raises(nn.InputError, match="has repeated records, so no other equation"):
        nn.Network(
            [
                nn.Layer("geno", data.genotypes.iloc[:GENOTYPED]),
                nn.Layer("omics", records, individual="cow"),
                nn.Layer("pheno", data.phenotypes),
            ],
            ["omics ~ 1 + geno", "y ~ 1 + tanh(omics)"],
        )

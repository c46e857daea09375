"""What follows from a graph: mediated variance and interventions, by hand and against `pm.do`."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pymc as pm
import pytest
import xarray as xr

import nnmm_pymc as nn
from nnmm_pymc.description import (
    FunctionDescription,
    NodeDescription,
    ParentDescription,
    describe,
    to_json,
)
from nnmm_pymc.errors import InputError
from nnmm_pymc.intervene import intervene
from nnmm_pymc.mediation import mediated_heritability, omic_shares

N, P = 30, 4
PEOPLE = [f"i{i}" for i in range(N)]
MARKERS = [f"snp{j}" for j in range(P)]
OMICS = ["gene1", "gene2"]


@pytest.fixture(scope="module")
def genotypes() -> pd.DataFrame:
    """Dosages with one missing call."""
    dosages = np.random.default_rng(0).binomial(2, [0.3, 0.5, 0.2, 0.6], (N, P)).astype(float)
    dosages[3, 1] = np.nan
    return pd.DataFrame(dosages, PEOPLE, MARKERS)


def centred(genotypes):
    """Dosages about their means, a missing call at its mean."""
    return (genotypes - genotypes.mean()).fillna(0.0).to_numpy()


def make_result(nodes, parameters, effects, genotypes):
    """A result as of `Network.fit`, one chain: (draw, ...) arrays by variable."""
    n_draws = len(next(iter(parameters.values())))
    draws = {"chain": [0], "draw": np.arange(n_draws)}

    def chain(values, dims, coords):
        return xr.DataArray(np.asarray(values, float)[None], coords, ["chain", "draw", *dims])

    posterior = {
        name: chain(v, [f"{name}_{a}" for a in range(np.ndim(v) - 1)], draws)
        for name, v in parameters.items()
    }
    kept = {
        name: chain(v, ["marker", f"{name}_column"], draws | {"marker": MARKERS})
        for name, v in effects.items()
    }
    mean = xr.DataArray(genotypes.mean().to_numpy(), {"marker": MARKERS}, ["marker"])
    groups = {"posterior": posterior, "effect_draws": kept}
    groups["constant_data"] = {"geno_mean_dosage": mean}
    result = xr.DataTree.from_dict({name: xr.Dataset(group) for name, group in groups.items()})
    result.attrs["network"] = to_json(nodes)
    return result


def make_node(name, columns, *parents, terminal=False, **options):
    return NodeDescription(
        name=name,
        layer=name,
        columns=list(columns),
        dim=f"{name}_column",
        terminal=terminal,
        intercept=True,
        formula=f"{name} ~ 1",
        residual_variance=f"{name}_residual_variance",
        markers={f"{name}_geno": "geno"},
        parents=list(parents),
        **options,
    )


def make_parent(child, parent, n, mask=None):
    weights, scaling = f"{child}_{parent}", ([0.0] * n, [1.0] * n)
    return ParentDescription(parent, list(range(n)), weights, "identity", *scaling, mask)


# Two omics act linearly on a trait that markers reach directly too; two draws of the parameters.
A = np.array([[[0.5, 0.0], [0.0, -0.8], [0.3, 0.4], [0.0, 0.0]]] * 2)
A[1] *= 1.5
D = np.array([[[0.2], [0.3], [0.0], [-0.4]], [[0.1], [0.0], [0.5], [0.2]]])
W = np.array([[[1.2], [-0.7]], [[0.9], [0.4]]])
MU = np.array([[0.3, -1.0], [0.2, 0.1]])
OMIC_VARIANCE = np.array([[0.5, 0.8], [0.4, 0.2]])
TRAIT_VARIANCE = np.array([[0.6], [0.9]])


def linear(genotypes, mask=None):
    nodes = [
        make_node("omics", OMICS),
        make_node("y", ["y"], make_parent("y", "omics", 2, mask=mask), terminal=True),
    ]
    parameters = {
        "omics_Intercept": MU,
        "omics_residual_variance": OMIC_VARIANCE,
        "y_Intercept": np.array([[2.0], [2.5]]),
        "y_omics": W,
        "y_residual_variance": TRAIT_VARIANCE,
    }
    return make_result(nodes, parameters, {"omics_geno": A, "y_geno": D}, genotypes)


def test_linear_variances_are_those_of_the_closed_form(genotypes):
    table = mediated_heritability(linear(genotypes), genotypes)
    x = centred(genotypes)
    s = x.T @ x / N
    a, d = (A @ W)[..., 0], D[..., 0]
    direct = np.einsum("dj,jk,dk->d", d, s, d)
    mediated = np.einsum("dj,jk,dk->d", a, s, a)
    covariance = 2 * np.einsum("dj,jk,dk->d", d, s, a)
    total = direct + mediated + covariance
    residual = TRAIT_VARIANCE[:, 0] + np.einsum("dkt,dk->d", W**2, OMIC_VARIANCE)
    assert table["trait"].eq("y").all()
    assert list(table["part"]) == ["total", "direct", "mediated", "covariance"]
    assert list(table["layer"]) == ["", "", "omics", ""]
    for row, part in zip((total, direct, mediated, covariance), table.itertuples(), strict=True):
        np.testing.assert_allclose(part.variance, row.mean(), rtol=1e-5)
        np.testing.assert_allclose(part.variance_sd, row.std(), rtol=1e-4)
        np.testing.assert_allclose(part.share, (row / total).mean(), rtol=1e-5)
        np.testing.assert_allclose(part.heritability, (row / (total + residual)).mean(), rtol=1e-5)
        lower, upper = np.quantile(row / total, [0.05, 0.95])
        np.testing.assert_allclose([part.share_lower, part.share_upper], [lower, upper], rtol=1e-5)


def test_omic_shares_are_covariances_with_the_breeding_value(genotypes):
    table = omic_shares(linear(genotypes), genotypes)
    x = centred(genotypes)
    direct, omics = x @ D, (x @ A) * W[:, None, :, 0]
    total = direct[..., 0] + omics.sum(axis=2)
    assert list(zip(table["layer"], table["source"], strict=True)) == [
        ("geno", "direct"),
        ("omics", "gene1"),
        ("omics", "gene2"),
    ]
    for source, values in zip(
        table.itertuples(), (direct[..., 0], omics[..., 0], omics[..., 1]), strict=True
    ):
        share = [np.cov(v, m, ddof=0)[0, 1] / m.var() for v, m in zip(values, total, strict=True)]
        np.testing.assert_allclose(source.share, np.mean(share), rtol=1e-5)
        np.testing.assert_allclose(source.variance, values.var(axis=1).mean(), rtol=1e-5)
    np.testing.assert_allclose(table["share"].sum(), 1.0, rtol=1e-5)


def test_an_unconnected_omic_has_no_share(genotypes):
    table = omic_shares(linear(genotypes, mask=[[True], [False]]), genotypes)
    assert list(table["source"]) == ["direct", "gene1"]
    np.testing.assert_allclose(table["share"].sum(), 1.0, rtol=1e-5)


def test_total_is_the_heritability_of_the_fit(fitted, simulation):
    table = mediated_heritability(fitted, simulation.genotypes).set_index("part")
    known = nn.heritability(fitted).set_index("trait").loc["y"]
    total = table.loc["total"]
    for name, column in (("mean", "heritability"), ("sd", "heritability_sd")):
        np.testing.assert_allclose(total[column], known[name], rtol=1e-5)
    np.testing.assert_allclose(total["variance"], known["genetic_variance"], rtol=1e-5)
    # No direct term, tanh, cells missing: everything is mediated.
    np.testing.assert_allclose(table.loc["mediated", "share"], 1.0, rtol=1e-6)
    shares = omic_shares(fitted, simulation.genotypes)
    np.testing.assert_allclose(shares["heritability"].sum(), total["heritability"], rtol=1e-6)


def chain(genotypes):
    """rna reaches the trait itself and through protein, which is omics -> omics -> trait."""
    nodes = [
        make_node("rna", ["r"]),
        make_node("protein", ["p"], make_parent("protein", "rna", 1)),
        make_node(
            "y", ["y"], make_parent("y", "rna", 1), make_parent("y", "protein", 1), terminal=True
        ),
    ]
    parameters = {f"{n}_Intercept": np.array([[0.5]]) for n in ("rna", "protein", "y")}
    parameters |= {f"{n}_residual_variance": np.array([[0.3]]) for n in ("rna", "protein", "y")}
    parameters |= {
        "protein_rna": np.array([[[0.8]]]),
        "y_rna": np.array([[[-0.5]]]),
        "y_protein": np.array([[[1.5]]]),
    }
    effects = {"rna_geno": A[:1, :, :1], "protein_geno": A[:1, :, 1:], "y_geno": D[:1]}
    return make_result(nodes, parameters, effects, genotypes)


def test_layers_are_told_apart(genotypes):
    table = mediated_heritability(chain(genotypes), genotypes)
    x = centred(genotypes)
    rna = x @ A[0, :, 0]
    protein = x @ A[0, :, 1] + 0.8 * rna
    expected = {
        ("y", "rna + protein"): (1.5 * protein - 0.5 * rna).var(),
        ("y", "rna"): (0.5 * rna).var(),
        ("y", "protein"): (1.5 * protein).var(),
        ("protein", "rna"): (0.8 * rna).var(),
    }
    mediated = table[table["part"] == "mediated"].replace({"trait": {"p": "protein"}})
    found = mediated.set_index(["trait", "layer"])["variance"]
    assert list(found.index) == list(expected)
    np.testing.assert_allclose(found, list(expected.values()), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.statistical
def test_the_truth_of_a_simulation_is_recovered():
    data = nn.simulate(
        500, 100, 3, network_r2=0.4, direct_r2=0.2, omic_h2=0.6, n_causal=0.1, random_seed=3
    )
    network = nn.Network(
        [
            nn.Layer("geno", data.genotypes),
            nn.Layer("omics", data.omics),
            nn.Layer("pheno", data.phenotypes),
        ],
        ["omics ~ 1 + geno", "y ~ 1 + tanh(omics) + geno"],
    )
    result = network.fit(
        draws=200, tune=200, chains=1, cores=1, random_seed=1, progressbar=False, quiet=True
    )
    table = mediated_heritability(result, data.genotypes).set_index("part")
    total = data.breeding_values["y"].to_numpy()
    direct = centred(data.genotypes) @ data.direct_effects["y"].to_numpy()
    truth = pd.Series({"direct": direct.var(), "mediated": (total - direct).var()})
    found = table.loc[truth.index]
    assert (np.abs(found["variance"] - truth) < 3 * found["variance_sd"]).all()
    assert (found["variance_sd"] < 0.3 * truth).all()  # so that the line above says something


# Interventions


def test_a_linear_omic_changes_the_trait_by_its_weight(genotypes):
    result = linear(genotypes)
    table = intervene(result, genotypes, omics={"gene2": 1.5})
    natural = MU[:, 1, None] + (centred(genotypes) @ A)[..., 1]
    change = W[:, 1] * (1.5 - natural)
    assert list(table["individual"]) == PEOPLE
    np.testing.assert_allclose(table["change"], change.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(table["change_sd"], change.std(axis=0), atol=1e-6)
    lower, upper = np.quantile(change, [0.05, 0.95], axis=0)
    np.testing.assert_allclose(table["change_lower"], lower, atol=1e-6)
    np.testing.assert_allclose(table["change_upper"], upper, atol=1e-6)
    merit = nn.predict_network(result, genotypes)["ebv"]
    np.testing.assert_allclose(table["expected"] - table["change"], merit, atol=1e-6)


def test_a_series_leaves_alone_whom_it_gives_nothing(genotypes):
    result = linear(genotypes)
    values = pd.Series(np.linspace(-1, 1, N), PEOPLE).sample(frac=1, random_state=1)
    values["i5"] = np.nan
    table = intervene(result, genotypes, omics={"gene1": values}).set_index("individual")
    natural = MU[:, 0, None] + (centred(genotypes) @ A)[..., 0]
    change = W[:, 0] * (values.loc[PEOPLE].to_numpy() - natural)
    np.testing.assert_allclose(table["change"], np.nan_to_num(change.mean(axis=0)), atol=1e-6)
    assert table.loc["i5", "change_sd"] == 0.0


def test_a_marker_acts_directly_and_through_the_omics(genotypes):
    table = intervene(linear(genotypes), genotypes, markers={"snp1": 2, "snp3": 0.5})
    step = np.array([2.0, 0.5]) - genotypes[["snp1", "snp3"]].fillna(genotypes.mean()).to_numpy()
    effects = (D + A @ W)[:, [1, 3], 0]
    np.testing.assert_allclose(table["change"], (effects @ step.T).mean(axis=0), atol=1e-6)


def test_setting_a_marker_is_predicting_from_other_genotypes(fitted, simulation):
    changed = simulation.genotypes.assign(snp1=2, snp7=0)
    table = intervene(fitted, simulation.genotypes, markers={"snp1": 2, "snp7": 0})
    others = nn.predict_network(fitted, changed)
    pd.testing.assert_series_equal(table["individual"], others["individual"])
    for name in ("", "_sd", "_lower", "_upper"):
        np.testing.assert_allclose(table[f"expected{name}"], others[f"ebv{name}"], atol=1e-5)
    assert table["change"].abs().max() > 0.01


def test_the_average_effect_has_an_interval_of_its_own(genotypes):
    result = linear(genotypes)
    options = {"omics": {"gene1": 1.0}, "markers": {"snp1": 0}}
    one = intervene(result, genotypes, average=True, **options)
    each = intervene(result, genotypes, **options)
    assert list(one["trait"]) == ["y"] and "individual" not in one
    np.testing.assert_allclose(one["change"], each["change"].mean(), rtol=1e-6)
    # gene1 is held, so the marker acts directly and through gene2 alone.
    natural = MU[:, 0, None] + (centred(genotypes) @ A)[..., 0]
    step = -genotypes["snp1"].fillna(genotypes["snp1"].mean()).to_numpy()
    effect = D[:, 1, 0] + A[:, 1, 1] * W[:, 1, 0]
    change = (W[:, 0] * (1.0 - natural) + effect[:, None] * step).mean(axis=1)
    np.testing.assert_allclose(
        one[["change_lower", "change_upper"]].to_numpy()[0],
        np.quantile(change, [0.05, 0.95]),
        rtol=1e-5,
    )


def test_descendants_follow_and_ancestors_do_not(genotypes):
    result = chain(genotypes)
    rna = 0.5 + centred(genotypes) @ A[0, :, 0]
    protein = 0.5 + centred(genotypes) @ A[0, :, 1] + 0.8 * rna
    through = intervene(result, genotypes, omics={"r": 2.0})["change"]
    np.testing.assert_allclose(through, (1.5 * 0.8 - 0.5) * (2.0 - rna), atol=1e-6)
    last = intervene(result, genotypes, omics={"p": 2.0})["change"]
    np.testing.assert_allclose(last, 1.5 * (2.0 - protein), atol=1e-6)
    both = intervene(result, genotypes, omics={"p": 2.0, "r": 2.0})["change"]
    np.testing.assert_allclose(both, last - 0.5 * (2.0 - rna), atol=1e-6)


def test_agrees_with_do_on_the_model(genotypes):
    """gene1 acts on gene2 and on the trait, gene2 on the trait, all through tanh; one is set."""
    rng = np.random.default_rng(5)
    tables = {
        "geno": genotypes,
        "omics": pd.DataFrame(rng.normal(size=(N, 2)), PEOPLE, OMICS),
        "pheno": pd.DataFrame(rng.normal(size=(N, 1)), PEOPLE, ["y"]),
    }
    network = nn.Network(
        [nn.Layer(name, table) for name, table in tables.items()],
        ["gene1 ~ 1 + geno", "gene2 ~ 1 + geno + tanh(gene1)", "y ~ 1 + tanh(gene1) + tanh(gene2)"],
    )
    parameters = {
        "gene1_Intercept": [0.3],
        "gene1_residual_variance": [0.7],
        "gene2_Intercept": [-0.4],
        "gene2_residual_variance": [0.5],
        "gene2_gene1": [[1.1]],
        "y_Intercept": [0.2],
        "y_residual_variance": [0.3],
        "y_gene1": [[0.9]],
        "y_gene2": [[-1.3]],
    }
    effects = {"gene1_geno": A[0, :, :1], "gene2_geno": A[0, :, 1:]}
    result = make_result(
        describe(network.nodes),
        {name: np.array([value]) for name, value in parameters.items()},
        {name: value[None] for name, value in effects.items()},
        genotypes,
    )
    for omic, value in (("gene1", 1.2), ("gene2", -0.6)):
        given = {name: np.array(value, float) for name, value in (parameters | effects).items()}
        model = pm.do(network.model, given | {omic: np.full((N, 1), value)})
        mean = model["y"].owner.op.dist_params(model["y"].owner)[0]
        drawn = pm.draw(mean, draws=3000, random_seed=1, mode="FAST_COMPILE")[..., 0]
        error = drawn.std(axis=0) / np.sqrt(len(drawn))
        table = intervene(result, genotypes, omics={omic: value})
        assert error.max() < 0.02
        assert (np.abs(table["expected"] - drawn.mean(axis=0)) < 4.5 * error).all()


def test_functions_of_ones_own_are_followed(genotypes):
    """y depends on the product of two omics, which is bilinear in their means."""
    product = FunctionDescription(
        "product", [("omics", [0], False), ("omics", [1], False)], "y_product", []
    )
    nodes = [
        make_node("omics", OMICS),
        make_node("y", ["y"], terminal=True, functions=[product]),
    ]
    parameters = {
        "omics_Intercept": MU,
        "omics_residual_variance": np.zeros((2, 2)),
        "y_Intercept": np.zeros((2, 1)),
        "y_product": np.array([[[0.5]], [[2.0]]]),
        "y_residual_variance": TRAIT_VARIANCE,
    }
    result = make_result(nodes, parameters, {"omics_geno": A, "y_geno": D}, genotypes)
    own = {"functions": {"product": lambda z1, z2: z1 * z2}}
    z = MU[:, None] + centred(genotypes) @ A
    weight = np.array([[0.5], [2.0]])
    change = weight * (1.0 - z[..., 0]) * z[..., 1]
    table = intervene(result, genotypes, omics={"gene1": 1.0}, **own)
    np.testing.assert_allclose(table["change"], change.mean(axis=0), atol=1e-5)
    parts = mediated_heritability(result, genotypes, **own).set_index(["part", "layer"])
    mediated = (weight * z[..., 0] * z[..., 1]).var(axis=1).mean()
    found = parts.loc[("mediated", "functions"), "variance"]
    np.testing.assert_allclose(found, mediated, rtol=1e-5)
    shares = omic_shares(result, genotypes, **own)
    assert list(shares["source"]) == ["direct", "functions"]
    np.testing.assert_allclose(shares["share"].sum(), 1.0, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "Nothing is set"),
        ({"omics": {"gene9": 1.0}}, r"'gene9' is no omic of the fit \(gene1, gene2\)"),
        ({"omics": {"y": 1.0}}, "'y' is no omic of the fit"),
        ({"omics": {"gene1": "high"}}, r"omics\['gene1'\] is 'high'; give one finite number"),
        ({"omics": {"gene1": pd.Series({"i0": 1.0})}}, "lacks 29 of the 30 individuals"),
        ({"markers": {"rs1": 1}}, r"'rs1' is no marker of the fit \(snp0, snp1, snp2, ...\)"),
        ({"markers": {"snp1": 3}}, "a dosage is between 0 and 2"),
        ({"omics": {"gene1": 1.0}, "probability": 2}, "between 0 and 1"),
    ],
)
def test_what_cannot_be_set_is_refused(genotypes, options, message):
    with pytest.raises(InputError, match=message):
        intervene(linear(genotypes), genotypes, **options)


def test_genotypes_must_be_those_of_the_layers(genotypes):
    result = linear(genotypes)
    with pytest.raises(InputError, match="'chip' is no genotype layer"):
        mediated_heritability(result, {"chip": genotypes})
    with pytest.raises(InputError, match="none of its markers"):
        omic_shares(result, genotypes.add_prefix("other_"))

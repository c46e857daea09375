"""Comparison of networks: densities of phenotypes, leave-one-out, cross-validation."""

from __future__ import annotations

import warnings

import arviz as az
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import logsumexp

import nnmm_pymc as nn
from nnmm_pymc.activations import gaussian_moments
from nnmm_pymc.crossval import cross_validate, summarise_folds
from nnmm_pymc.description import NodeDescription, ParentDescription
from nnmm_pymc.elpd import compare_networks, phenotype_log_likelihood
from nnmm_pymc.folds import split_folds
from nnmm_pymc.merit import Batch, phenotype_draws
from nnmm_pymc.predictive import Cells, predictive

FIT = {"draws": 300, "tune": 200, "chains": 2, "progressbar": False, "quiet": True}
NO_NUMBERS = None  # in the place of a generator: a closed form needs none

# --- densities against a normal distribution of all nodes ----------------------------------------


def node(name, columns, *, parents=(), terminal=False) -> NodeDescription:
    """A node with an intercept and markers ("x_geno"), and identity edges from `parents`."""
    edges = [
        ParentDescription(
            parent.name,
            list(range(len(parent.columns))),
            f"{name}_{parent.name}",
            "identity",
            [0.0] * len(parent.columns),
            [1.0] * len(parent.columns),
            None,
        )
        for parent in parents
    ]
    return NodeDescription(
        name,
        name,
        columns,
        "",
        terminal,
        True,
        "",
        f"{name}_residual_variance",
        markers={f"{name}_geno": "geno"},
        parents=edges,
    )


def random_batch(nodes, n_draws, n, rng) -> Batch:
    """Draws as of a posterior: they do not differ by much."""
    parameters, genetic = {}, {}
    sizes = {a.name: len(a.columns) for a in nodes}

    def around(*shape):
        return rng.normal(size=shape) + 0.1 * rng.normal(size=(n_draws, *shape))

    for a in nodes:
        k = sizes[a.name]
        parameters[f"{a.name}_Intercept"] = around(k)
        parameters[a.residual_variance] = rng.uniform(0.5, 1.0, (n_draws, k))
        genetic[f"{a.name}_geno"] = around(n, k)
        for edge in a.parents:
            parameters[edge.weights] = around(sizes[edge.node], k)
    return Batch(np.arange(n_draws), parameters, genetic)


def random_cells(nodes, batch, n, rng, missing, chosen) -> Cells:
    """Values under the first draw, a share of the omics missing; `chosen` are (node, column)."""
    values = phenotype_draws(nodes, batch, n, {}, {}, rng)
    cells = Cells({}, {}, {})
    for a in nodes:
        y = values[a.name][0]
        if not a.terminal:
            y[rng.random(y.shape) < missing] = np.nan
        own = [(a.name, k) in chosen for k in range(len(a.columns))]
        cells.chosen[a.name] = np.where(own, y, np.nan)
        cells.given[a.name] = np.where(own, np.nan, y)
    return cells


def normal_density(nodes, batch, cells, d, i):
    """Log density and mean of the chosen cells given the others, by the joint normal of all."""
    cells_of_nodes = [(a.name, k) for a in nodes for k in range(len(a.columns))]
    places = {cell: j for j, cell in enumerate(cells_of_nodes)}
    size = len(places)
    paths, constant, variance = np.eye(size), np.zeros(size), np.zeros(size)
    chosen, given = np.full(size, np.nan), np.full(size, np.nan)
    for a in nodes:
        at = [places[a.name, k] for k in range(len(a.columns))]
        constant[at] = batch.parameters[f"{a.name}_Intercept"][d]
        constant[at] += batch.genetic[f"{a.name}_geno"][d, i]
        variance[at] = batch.parameters[a.residual_variance][d]
        chosen[at], given[at] = cells.chosen[a.name][i], cells.given[a.name][i]
        for edge in a.parents:
            of = [places[edge.node, c] for c in edge.columns]
            paths[np.ix_(at, of)] -= batch.parameters[edge.weights][d].T
    inverse = np.linalg.inv(paths)
    mean, covariance = inverse @ constant, inverse @ np.diag(variance) @ inverse.T
    wanted, known = np.flatnonzero(~np.isnan(chosen)), np.flatnonzero(~np.isnan(given))
    gain = covariance[np.ix_(wanted, known)] @ np.linalg.inv(covariance[np.ix_(known, known)])
    mean = mean[wanted] + gain @ (given[known] - mean[known])
    rest = covariance[np.ix_(wanted, wanted)] - gain @ covariance[np.ix_(known, wanted)]
    return stats.multivariate_normal.logpdf(chosen[wanted], mean, rest), mean


def normal_densities(nodes, batch, cells):
    shape = (len(batch.index), cells.n)
    found = [normal_density(nodes, batch, cells, d, i) for d, i in np.ndindex(shape)]
    return np.array([f[0] for f in found]).reshape(shape), np.array([f[1] for f in found])


@pytest.mark.parametrize("missing", [0.0, 0.4, 1.0])
def test_linear_network_has_a_closed_form_whatever_is_missing(missing):
    rng = np.random.default_rng(1)
    omics = node("omics", ["a", "b", "c"])
    nodes = [omics, node("y", ["y"], parents=[omics], terminal=True)]
    batch = random_batch(nodes, 4, 20, rng)
    cells = random_cells(nodes, batch, 20, rng, missing, [("y", 0)])
    means, density = predictive(nodes, batch, cells, 1, NO_NUMBERS, {})
    expected, mean = normal_densities(nodes, batch, cells)
    np.testing.assert_allclose(density, expected, rtol=1e-10)
    np.testing.assert_allclose(means["y"].ravel(), mean[:, 0], rtol=1e-10)


def test_traits_are_independent_where_nothing_is_missing():
    rng = np.random.default_rng(2)
    first = node("first", ["a", "b"])
    second = node("second", ["c"], parents=[first])
    nodes = [first, second, node("y", ["y", "z"], parents=[first, second], terminal=True)]
    batch = random_batch(nodes, 3, 20, rng)
    cells = random_cells(nodes, batch, 20, rng, 0, [("y", 0), ("y", 1)])
    density = predictive(nodes, batch, cells, 1, NO_NUMBERS, {})[1]
    np.testing.assert_allclose(density, normal_densities(nodes, batch, cells)[0], rtol=1e-10)


@pytest.mark.filterwarnings("ignore:Fewer than 10 of 250 draws")
@pytest.mark.parametrize("chosen", [[("y", 0)], [("y", 0), ("y", 1)]])
def test_what_is_observed_downstream_informs_what_is_missing(chosen):
    # The other trait and the second layer of omics say something of the missing first layer; an
    # error that does not shrink with the number of draws is one of the formula.
    rng = np.random.default_rng(3)
    first = node("first", ["a", "b"])
    second = node("second", ["c"], parents=[first])
    nodes = [first, second, node("y", ["y", "z"], parents=[first, second], terminal=True)]
    batch = random_batch(nodes, 3, 60, rng)
    cells = random_cells(nodes, batch, 60, rng, 0.5, chosen)
    expected, mean = normal_densities(nodes, batch, cells)
    errors, mean_errors = [], []
    for imputations in (250, 4000):
        means, density = predictive(nodes, batch, cells, imputations, rng, {})
        errors.append(np.sqrt(np.mean((density - expected) ** 2)))
        found = means["y"][..., [k for _, k in chosen]].reshape(mean.shape)
        mean_errors.append(np.sqrt(np.mean((found - mean) ** 2)))
    assert errors[1] < 0.4 * errors[0] and errors[1] < 0.05
    assert mean_errors[1] < 0.4 * mean_errors[0] and mean_errors[1] < 0.05


def test_too_few_draws_of_missing_omics_are_noticed():
    rng = np.random.default_rng(5)
    first = node("first", ["a"])
    nodes = [first, node("second", ["c"], parents=[first])]
    nodes.append(node("y", ["y"], parents=nodes[:], terminal=True))
    batch = random_batch(nodes, 3, 5, rng)
    cells = random_cells(nodes, batch, 5, rng, 0.0, [("y", 0)])
    cells.given["first"][1:3] = np.nan
    predictive(nodes, batch, cells, 200, rng, {})
    cells.given["second"][1] += 50
    with pytest.warns(UserWarning, match="missing omics of 1 individuals"):
        predictive(nodes, batch, cells, 200, rng, {})


def test_nodes_without_residual_are_not_drawn():
    rng = np.random.default_rng(6)
    omics = node("omics", ["a", "b"])
    nodes = [omics, node("y", ["y"], parents=[omics], terminal=True)]
    edge = nodes[1].parents[0]
    nodes[1].parents[0] = ParentDescription(*{**vars(edge), "activation": "tanh"}.values())
    batch = random_batch(nodes, 3, 20, rng)
    batch.parameters["omics_residual_variance"][:] = 0.0
    cells = random_cells(nodes, batch, 20, rng, 1.0, [("y", 0)])
    p = batch.parameters
    z = p["omics_Intercept"][:, None] + batch.genetic["omics_geno"]
    mean = p["y_Intercept"][:, None] + batch.genetic["y_geno"] + np.tanh(z) @ p["y_omics"]
    sd = np.sqrt(p["y_residual_variance"])
    means, density = predictive(nodes, batch, cells, 100, rng, {})
    np.testing.assert_allclose(means["y"], mean, rtol=1e-12)
    expected = stats.norm.logpdf(cells.chosen["y"][:, 0], mean[..., 0], sd)
    np.testing.assert_allclose(density, expected, rtol=1e-12)


def test_missing_omic_behind_tanh_is_averaged_as_by_quadrature():
    rng = np.random.default_rng(4)
    omics = node("omics", ["a"])
    trait = node("y", ["y"], parents=[omics], terminal=True)
    edge = trait.parents[0]
    trait.parents[0] = ParentDescription(*{**vars(edge), "activation": "tanh"}.values())
    nodes, imputations = [omics, trait], 400
    batch = random_batch(nodes, 3, 60, rng)
    cells = random_cells(nodes, batch, 60, rng, 1.0, [("y", 0)])
    means, density = predictive(nodes, batch, cells, imputations, rng, {})
    p = batch.parameters
    z_mean = p["omics_Intercept"][:, None, 0] + batch.genetic["omics_geno"][..., 0]
    z_sd = np.sqrt(p["omics_residual_variance"])[:, None, 0]
    weight, sd = p["y_omics"][:, :, 0], np.sqrt(p["y_residual_variance"])
    level = p["y_Intercept"] + batch.genetic["y_geno"][..., 0]
    at, share = np.polynomial.hermite_e.hermegauss(60)
    first, second = np.zeros(density.shape), np.zeros(density.shape)
    for u, s in zip(at, share / share.sum(), strict=True):
        mean = level + weight * np.tanh(z_mean + z_sd * u)
        value = stats.norm.pdf(cells.chosen["y"][:, 0], mean, sd)
        first, second = first + s * value, second + s * value**2
    error = np.sqrt((second / first**2 - 1) / imputations)
    z = (density - np.log(first)) / error
    assert abs(z.mean()) < 4 / np.sqrt(z.size)
    assert np.sqrt(np.mean(z**2)) == pytest.approx(1, abs=4 / np.sqrt(2 * z.size))
    g_mean, g_variance = gaussian_moments("tanh", z_mean, z_sd)
    z = (means["y"][..., 0] - level - weight * g_mean) / np.sqrt(
        weight**2 * g_variance / imputations
    )
    assert np.sqrt(np.mean(z**2)) == pytest.approx(1, abs=4 / np.sqrt(2 * z.size))


# --- fits ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data() -> nn.Simulation:
    return nn.simulate(
        150,
        30,
        2,
        activation="identity",
        network_r2=0.3,
        direct_r2=0.4,
        n_direct=4,
        n_families=15,
        random_seed=3,
    )


@pytest.fixture(scope="module")
def networks(data) -> dict[str, nn.Network]:
    sex = np.random.default_rng(0).choice(["f", "m"], len(data.phenotypes))
    phenotypes = data.phenotypes[["y"]].assign(sex=sex)
    phenotypes["y"] += 0.5 * (sex == "m")
    layers = [
        nn.Layer("geno", data.genotypes),
        nn.Layer("omics", data.omics),
        nn.Layer("pheno", phenotypes),
    ]
    return {
        label: nn.Network(layers, [nn.Equation("omics ~ 1 + geno"), nn.Equation(formula)])
        for label, formula in (
            ("indirect", "y ~ 1 + sex + omics"),
            ("direct", "y ~ 1 + sex + omics + geno"),
        )
    }


@pytest.fixture(scope="module")
def results(networks):
    return {label: network.fit(random_seed=1, **FIT) for label, network in networks.items()}


def linear_draws(network, result):
    """Mean (draw, individual) and sd (draw) of y by hand, where omics are complete."""
    posterior = result["posterior"].dataset.sel(draw=result["effect_draws"]["draw"])
    flat = {
        name: posterior[name]
        .to_numpy()
        .reshape(posterior.sizes["chain"] * posterior.sizes["draw"], -1)
        for name in ("y_Intercept", "y_sex", "y_omics", "y_residual_variance")
    }
    tables, order = network.tables, network.individuals
    male = (tables["pheno"].frame.loc[order, "sex"] == "m").to_numpy(float)
    effects = result["effect_draws"]["y_geno"].to_numpy().reshape(len(flat["y_sex"]), -1)
    mean = flat["y_Intercept"] + flat["y_sex"] * male
    mean = mean + flat["y_omics"] @ tables["omics"].frame.loc[order].to_numpy().T
    mean = mean + effects @ tables["geno"].centred(order).T
    return mean, np.sqrt(flat["y_residual_variance"])


def test_log_likelihood_of_complete_data_is_that_of_the_normal_distribution(networks, results):
    network, result = networks["direct"], results["direct"]
    tree = phenotype_log_likelihood(network, result)
    found = tree["log_likelihood"]["phenotypes"]
    assert found.dims == ("chain", "draw", "individual")
    mean, sd = linear_draws(network, result)
    y = network.tables["pheno"].frame.loc[found["individual"].to_numpy(), "y"].to_numpy()
    expected = stats.norm.logpdf(y, mean, sd).reshape(found.shape)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)  # effects are kept in float32


def test_leave_one_out_prefers_the_true_direct_edge(networks, results):
    trees = {k: phenotype_log_likelihood(networks[k], results[k]) for k in networks}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # ArviZ: some k-hat may be large
        loo = az.loo(trees["direct"], pointwise=True)
        table = compare_networks(trees, round_to="none")
        pd.testing.assert_frame_equal(table, az.compare(trees, round_to="none"))
    assert float((loo.pareto_k < loo.good_k).mean()) > 0.9
    assert list(table.index) == ["direct", "indirect"]
    assert table.loc["indirect", "elpd_diff"] < -3 * table.loc["indirect", "dse"]


def test_comparison_and_its_input_are_checked(networks, results):
    network, result = networks["direct"], results["direct"]
    with pytest.raises(nn.InputError, match="not a fit of this network"):
        phenotype_log_likelihood(networks["indirect"], result)
    with pytest.raises(nn.InputError, match=r"'omic1' is none of the network's traits \(y\)"):
        phenotype_log_likelihood(network, result, traits=["omic1"])
    with pytest.raises(nn.InputError, match="imputations=0"):
        phenotype_log_likelihood(network, result, imputations=0)
    tree = phenotype_log_likelihood(network, result)
    other = tree.copy(deep=True)
    other["observed_data"]["phenotypes_y"][0] += 1
    with pytest.raises(nn.InputError, match="not of the same phenotypes"):
        compare_networks({"a": tree, "b": other})


# --- cross-validation ---------------------------------------------------------------------------


@pytest.fixture
def seen(monkeypatch, networks, results) -> list[nn.Network]:
    """Makes every fit of a fold the one to all data; the networks that would have been fitted."""
    fitted: list[nn.Network] = []

    def fit(self, random_seed, **options):
        fitted.append(self)
        label = "direct" if self.equations == networks["direct"].equations else "indirect"
        return results[label]

    monkeypatch.setattr(nn.Network, "fit", fit)
    return fitted


def test_phenotypes_of_a_fold_are_hidden_and_scored(networks, results, seen):
    network, result = networks["direct"], results["direct"]
    table = cross_validate(network, cv=3, random_seed=1)
    assert table["n"].tolist() == [50, 50, 50]
    y = network.tables["pheno"].frame["y"]
    ebv = nn.breeding_values(result).query("trait == 'y'").set_index("individual")["ebv"]
    mean, sd = linear_draws(network, result)
    density = pd.DataFrame(
        stats.norm.logpdf(y[network.individuals], mean, sd), columns=network.individuals
    )
    predicted = pd.Series(mean.mean(axis=0), network.individuals)
    held = []
    for part, row in zip(seen, table.itertuples(), strict=True):
        frames = {name: part.tables[name].frame for name in ("pheno", "omics")}
        hidden = frames["pheno"].index[frames["pheno"]["y"].isna()]
        held += list(hidden)
        assert frames["omics"].equals(network.tables["omics"].frame)
        assert part.tables["geno"] is network.tables["geno"]
        assert row.ebv_correlation == pytest.approx(np.corrcoef(y[hidden], ebv[hidden])[0, 1])
        line = stats.linregress(predicted[hidden], y[hidden])
        assert row.correlation == pytest.approx(line.rvalue)
        assert row.slope == pytest.approx(line.slope, rel=1e-5)
        assert row.mse == pytest.approx(np.mean((y[hidden] - predicted[hidden]) ** 2), rel=1e-5)
        expected = (logsumexp(density[hidden], axis=0) - np.log(len(density))).mean()
        assert row.log_density == pytest.approx(expected, abs=1e-4)
    assert sorted(held) == sorted(y.index)


def test_without_omics_genotypes_and_covariates_predict(networks, results, seen):
    table = cross_validate(networks["direct"], cv=2, random_seed=1, mask_omics=True)
    frame = networks["direct"].tables["pheno"].frame
    ebv = nn.breeding_values(results["direct"]).query("trait == 'y'").set_index("individual")["ebv"]
    sex = float(results["direct"]["posterior"]["y_sex"].mean()) * (frame["sex"] == "m")
    for part, row in zip(seen, table.itertuples(), strict=True):
        y = part.tables["pheno"].frame["y"]
        hidden = y.index[y.isna()]
        assert part.tables["omics"].frame.loc[hidden].isna().all(axis=None)
        assert part.tables["omics"].frame.drop(hidden).notna().all(axis=None)
        predicted = ebv[hidden] + sex[hidden]
        assert row.correlation == pytest.approx(
            np.corrcoef(frame.loc[hidden, "y"], predicted)[0, 1], rel=1e-3
        )


def test_networks_share_folds_and_families_stay_together(data, networks, seen):
    family = data.phenotypes["family"]
    table = cross_validate(networks, cv=4, groups=family, random_seed=2)
    assert table.groupby("label", sort=False)["fold"].agg(list).to_dict() == {
        label: [1, 2, 3, 4] for label in networks
    }
    hidden = [part.tables["pheno"].frame["y"].isna() for part in seen]
    for first, second in zip(hidden[::2], hidden[1::2], strict=True):
        assert first.equals(second)
        assert set(family[first]).isdisjoint(family[~first])
        assert 20 <= first.sum() <= 50


def test_splitters_of_scikit_learn(data, networks, seen):
    splitters = pytest.importorskip("sklearn.model_selection")
    family = data.phenotypes["family"]
    five = family.str[1:].astype(int) % 5
    leave_out = cross_validate(
        networks["direct"], splitters.LeaveOneGroupOut(), groups=five.to_dict()
    )
    assert leave_out["n"].tolist() == five.value_counts(sort=False).sort_index().tolist()
    single = splitters.PredefinedSplit(np.where(five == 0, 0, -1))
    assert len(cross_validate(networks["direct"], single)) == 1
    frames = [part.tables["pheno"].frame["y"].isna() for part in seen]
    assert frames[-1].equals(five == 0)


def test_fold_by_fold_fits(data):
    network = nn.Network(
        [nn.Layer("geno", data.genotypes), nn.Layer("pheno", data.phenotypes)], "y ~ 1 + geno"
    )
    options = {"random_seed": 1, "draws": 100, "tune": 100, "chains": 1}
    table = cross_validate(network, 2, **options, progressbar=False, quiet=True)
    np.testing.assert_allclose(table["ebv_correlation"], table["correlation"], rtol=1e-6)
    assert (table["correlation"] > 0.2).all() and (table["correlation"] < 0.9).all()


def table_of_folds() -> pd.DataFrame:
    rows = [("a", 1, 0.3), ("b", 1, 0.5), ("a", 2, 0.5), ("b", 2, 0.6)]
    table = pd.DataFrame(rows, columns=["label", "fold", "correlation"]).assign(trait="y", n=9)
    return table.assign(ebv_correlation=np.nan, mse=1.0, slope=1.0, log_density=-1.0)


def test_summary_of_folds_is_paired():
    summary = summarise_folds(table_of_folds(), base="a").set_index(["label", "score"])
    b = summary.loc[("b", "correlation")]
    assert b["mean"] == pytest.approx(0.55)
    assert b["se"] == pytest.approx(0.05)
    assert b["difference"] == pytest.approx(0.15)
    assert b["difference_se"] == pytest.approx(0.05)
    assert (summary.loc["a", "difference"].dropna() == 0).all()
    assert np.isnan(summary.loc[("a", "ebv_correlation"), "mean"])
    with pytest.raises(nn.InputError, match="No network is called 'c'; labels are a, b"):
        summarise_folds(table_of_folds(), base="c")


def test_score_that_one_fold_lacks_has_no_mean():
    folds = table_of_folds()
    folds.loc[0, "slope"] = np.nan
    summary = summarise_folds(folds).set_index(["label", "score"])
    assert np.isnan(summary.loc[("a", "slope"), "mean"])
    assert summary.loc[("b", "slope"), "mean"] == 1.0


class Splitter:
    def __init__(self, *folds):
        self.folds = folds

    def split(self, X, y, groups):
        yield from self.folds


PHENOTYPES = pd.DataFrame({"y": np.arange(6.0), "z": [0, 1, 2, 3, 4, np.nan]}, index=list("abcdef"))


@pytest.mark.parametrize(
    ("cv", "groups", "message"),
    [
        (7, None, "cv=7 must be between 2 and the 6 individuals"),
        (1, None, "cv=1 must be"),
        (True, None, "neither a number of folds nor"),
        (6, None, "Fold 1 holds out 1 phenotypes of 'y'"),
        (Splitter(([0, 1, 2, 3], [4, 5])), None, "Fold 1 holds out 1 phenotypes of 'z'"),
        (Splitter(([0, 1, 2], [2, 3])), None, "individual 'c' in training and test"),
        (2, {"a": 1, "b": 2}, r"groups has none for 4 of 6 individuals .*\(c, d, e, ...\)"),
        (2, [1, 2, 1, 2, 1, 2], "groups is a list"),
        (3, dict.fromkeys("abcdef", 1) | {"a": 2}, "cv=3 must be between 2 and the 2 groups"),
    ],
)
def test_folds_that_cannot_be_are_refused(cv, groups, message):
    with pytest.raises(nn.InputError, match=message):
        split_folds(cv, PHENOTYPES, groups, 1)


def test_networks_of_other_phenotypes_are_refused(data, networks):
    fewer = [nn.Layer("geno", data.genotypes), nn.Layer("pheno", data.phenotypes[["y"]].iloc[5:])]
    with pytest.raises(nn.InputError, match="'a' and 'b' do not have the same phenotypes"):
        cross_validate({"a": networks["direct"], "b": nn.Network(fewer, "y ~ 1 + geno")})
    with pytest.raises(nn.InputError, match="'y2' is none of the network's traits"):
        cross_validate(networks, traits=["y2"])


def test_covariates_that_a_fold_cannot_code_are_refused(data):
    herd = ["h1", "h2"] * 74 + ["h3", "h3"]
    age = np.arange(len(herd)) % 7.0
    layers = [
        nn.Layer("geno", data.genotypes),
        nn.Layer("pheno", data.phenotypes[["y"]].assign(herd=herd, age=age)),
    ]
    network = nn.Network(layers, "y ~ 1 + herd + geno")
    last = Splitter((np.arange(140), np.arange(140, 150)))
    with pytest.raises(nn.InputError, match=r"Fold 1: nobody outside it has herd\[h3\]"):
        cross_validate(network, last)
    network = nn.Network(layers, "y ~ 1 + scale(age) + geno")
    with pytest.raises(nn.InputError, match=r"Fold 1: 'scale\(age\)' .* depends on who is fitted"):
        cross_validate(network, last)

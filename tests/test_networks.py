"""Networks beyond one measured layer: own functions, latent and exact nodes, more layers."""

import numpy as np
import pandas as pd
import pymc as pm
import pytensor.tensor as pt
import pytest
import xarray as xr

import nnmm_pymc as nn
from nnmm_pymc.functions import NodeFunction
from nnmm_pymc.latent_alignment import align_latent_nodes

OPTIONS = {"chains": 2, "cores": 1, "random_seed": 1, "progressbar": False, "quiet": True}


@pytest.fixture(scope="module")
def data():
    return nn.simulate(120, 30, 2, activation="identity", random_seed=3)


def layers(data, **changed):
    given = {"geno": data.genotypes, "omics": data.omics, "pheno": data.phenotypes} | changed
    return [nn.Layer(name, values) for name, values in given.items()]


# ---------------------------------------------------------------- functions of one's own


def ratio(z1, z2):
    return pt.sqrt(z1**2 / (z1**2 + z2**2))


def test_a_function_enters_the_mean_with_its_weight(data):
    network = nn.Network(
        layers(data),
        [
            "omics ~ 1 + geno",
            nn.Equation("y ~ 1 + ratio(omic2, omic1)", functions={"ratio": ratio}),
        ],
    )
    model = network.model
    z = data.omics.loc[network.individuals].to_numpy()
    y = data.phenotypes["y"].loc[network.individuals].to_numpy()
    point = model.initial_point()
    point |= {
        "y_Intercept": np.array([0.3]),
        "y_ratio(omic2,omic1)": np.array([[1.7]]),
        "y_residual_variance_log__": np.log([0.5]),
    }
    mean = 0.3 + 1.7 * np.abs(z[:, 1]) / np.hypot(z[:, 0], z[:, 1])
    wanted = -0.5 * np.log(2 * np.pi * 0.5) - 0.5 * (y - mean) ** 2 / 0.5
    logp = model.compile_logp(vars=model["y"], sum=False, mode="FAST_COMPILE")(point)[0]
    np.testing.assert_allclose(np.ravel(logp), wanted, rtol=1e-8)


def test_a_function_of_a_layer_with_a_parameter_of_its_own_is_fitted_and_predicted(data):
    def saturation(z):
        half = pm.HalfNormal("half", 1.0)
        return pt.abs(z) / (half + pt.abs(z))

    network = nn.Network(
        layers(data),
        [
            "omics ~ 1 + geno",
            nn.Equation("y ~ 1 + saturation(omics)", functions={"saturation": saturation}),
        ],
    )
    result = network.fit(draws=40, tune=20, **OPTIONS)
    assert result["posterior"]["half"].shape == (2, 40)
    assert result["posterior"]["y_saturation(omics)"].sizes["y_saturation(omics)_output"] == 2
    table = network.predict(result, data.genotypes, data.omics)
    known = nn.breeding_values(result).query("trait == 'y'")["ebv"].to_numpy()
    np.testing.assert_allclose(table["ebv"], known, atol=1e-8)
    with pytest.raises(nn.InputError, match="'saturation' of your own"):
        nn.predict_network(result, data.genotypes)


def test_moments_of_a_function_are_those_of_normal_arguments():
    function = NodeFunction("product", lambda a, b: a * b, (1, 1))
    means, sds = [np.full((2, 3), m) for m in (1.0, -2.0)], [np.full((2, 3), s) for s in (0.5, 1.0)]
    mean, variance = function.moments(means, sds, {}, np.arange(2))
    assert mean.shape == variance.shape == (2, 3, 1)
    np.testing.assert_allclose(mean, -2.0, rtol=1e-12)
    # Var(ab) = s1^2 s2^2 + m1^2 s2^2 + m2^2 s1^2
    np.testing.assert_allclose(variance, 0.25 + 1.0 + 1.0, rtol=0.2)


@pytest.mark.parametrize("mean", [-1.0, 0.0, 0.5])
def test_the_mean_of_a_function_of_a_layer_has_little_error(mean):
    """Over many draws; an error common to them would be in the breeding values however many."""
    function = NodeFunction("gate", lambda z: pt.sigmoid(z[:, :-1]) * z[:, 1:] ** 2, (2,))
    means, sds = np.full((32, 1, 4), mean), np.full((32, 1, 4), 1.2)
    found, variance = function.moments([means], [sds], {}, np.arange(32))
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    z, weights = mean + 1.2 * nodes, weights / weights.sum()
    exact = (weights @ (1 / (1 + np.exp(-z)))) * (weights @ z**2)
    sd = np.sqrt(variance.mean())
    assert np.abs(found.mean(axis=0) - exact).max() < 0.03 * sd
    assert np.abs(found - exact).max() < 0.4 * sd


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda a, b: a[:, None, None] + b, "returned 3 axes"),
        (lambda a: a, "failed on 2 PyTensor variables"),
        (3, "is 3"),
    ],
)
def test_a_function_that_cannot_work_is_refused(data, function, words):
    with pytest.raises(nn.InputError, match=words):
        nn.Network(
            layers(data),
            ["omics ~ 1 + geno", nn.Equation("y ~ 1 + f(omic1, omic2)", functions={"f": function})],
        ).model.initial_point()


def test_an_unknown_function_is_refused(data):
    with pytest.raises(nn.InputError, match="function of your own"):
        nn.Network(layers(data), ["omics ~ 1 + geno", "y ~ 1 + f(omic1, omic2)"])


# ---------------------------------------------------------------- latent nodes


@pytest.fixture(scope="module")
def latent_network(data):
    given = layers(data, omics=nn.latent(["a", "b"]))
    return nn.Network(given, ["omics ~ 1 + geno", "y ~ 1 + tanh(omics)"])


@pytest.fixture(scope="module")
def latent_fit(latent_network):
    return latent_network.fit(draws=60, tune=60, **OPTIONS)


def test_latent_nodes_have_a_fixed_scale_and_every_individual(latent_network, latent_fit):
    assert latent_network.priors["omics"]["residual_variance"] == pytest.approx([0.5, 0.5])
    assert latent_network.nodes[0].latent.all()
    assert np.all(latent_fit["posterior"]["omics_residual_variance"] == 0.5)
    diagnosis = nn.diagnose(latent_fit)
    assert "what is identified is the network's output" in str(diagnosis)
    assert not any("omics_geno" in problem for problem in diagnosis.problems)


def test_permuted_and_reflected_chains_are_brought_together(latent_network, latent_fit):
    """A chain with its nodes exchanged and one sign changed comes back as it was."""
    first = latent_fit.copy(deep=True)
    align_latent_nodes(latent_network, first)
    wrong = first.copy(deep=True)
    signs = {"omics_geno", "omics_Intercept", "y_omics", "omics_missing"}
    signs |= {f"{name}_mean" for name in signs}
    for group in ("posterior", "moments", "effect_draws"):
        dataset = wrong[group].to_dataset()
        for name, array in dataset.data_vars.items():
            values = array.to_numpy().copy()
            if "omics_missing_cell" in array.dims:
                cells = values[1].reshape(*values.shape[1:-1], -1, 2)[..., ::-1].copy()
                cells[..., 0] *= -1.0 if name in signs else 1.0
                values[1] = cells.reshape(values.shape[1:])
            elif "omic" in array.dims:
                axis = array.dims.index("omic")
                moved = np.moveaxis(values, axis, -1)
                moved[1] = moved[1][..., ::-1].copy()
                moved[1, ..., 0] *= -1.0 if name in signs else 1.0
                values = np.moveaxis(moved, -1, axis)
            dataset[name] = (array.dims, values)
        wrong[group] = xr.DataTree(dataset)
    align_latent_nodes(latent_network, wrong)
    for group in ("posterior", "moments", "effect_draws"):
        for name, array in first[group].data_vars.items():
            np.testing.assert_allclose(wrong[group][name], array, err_msg=str(name))


REFLECTED = {
    "beside markers and omics": (
        ["omics ~ 1 + geno", "h ~ 1 + geno + omics", "y ~ 1 + tanh(h)"],
        {"h_Intercept", "h_geno", "h_omics", "h_missing", "y_h"},
    ),
    "without markers": (
        ["omics ~ 1 + geno", "h ~ 1 + omics", "y ~ 1 + tanh(h)"],
        {"h_Intercept", "h_omics", "h_missing", "y_h"},
    ),
    "above another": (
        ["h ~ 1 + geno", "k ~ 1 + geno + tanh(h)", "y ~ 1 + tanh(k)"],
        {"h_Intercept", "h_geno", "h_missing", "k_h"},
    ),
    "without residual": (
        [
            nn.Equation(
                "h ~ 1 + geno",
                priors={"residual_variance": 0.0, "geno": nn.RRBLUP(slab_variance=0.05)},
            ),
            "y ~ 1 + tanh(h)",
        ],
        {"h_Intercept", "h_geno", "h_geno_connected", "h", "y_h"},
    ),
}


def hidden_network(data, equations, **columns):
    named = " ".join(getattr(e, "formula", e) for e in equations)
    given = {"geno": data.genotypes, "omics": data.omics if "omics" in named else None}
    given |= {name: nn.latent([f"{name}1"]) if name in named else None for name in "hk"} | columns
    given["pheno"] = data.phenotypes
    return nn.Network([nn.Layer(n, v) for n, v in given.items() if v is not None], equations)


def with_second_chain_reflected(result, signs):
    """The first chain twice, the second time with all these variables' signs changed."""
    wrong = result.copy(deep=True)
    for group in ("posterior", "moments", "effect_draws"):
        if group in wrong.children:
            dataset = wrong[group].to_dataset()
            for name, array in dataset.data_vars.items():
                if "chain" in array.dims:
                    values = array.to_numpy().copy()
                    values[1] = values[0]
                    values[1] *= -1.0 if str(name).removesuffix("_mean") in signs else 1.0
                    dataset[name] = (array.dims, values)
            wrong[group] = xr.DataTree(dataset)
    return wrong


@pytest.mark.parametrize("kind", REFLECTED)
def test_a_reflected_chain_is_brought_back_with_all_that_goes_with_it(kind, data):
    """Incoming weights, values of the node and what only NUTS draws among them."""
    equations, signs = REFLECTED[kind]
    network = hidden_network(data, equations)
    result = network.fit(draws=15, tune=15, **OPTIONS)
    wrong = with_second_chain_reflected(result, signs)
    density = nn.with_log_densities(network, wrong)
    for group in ("log_likelihood", "log_prior"):
        for array in density[group].data_vars.values():
            np.testing.assert_allclose(array[1], array[0], rtol=1e-4, atol=1e-4)
    align_latent_nodes(network, wrong)
    for group in ("posterior", "moments", "effect_draws"):
        if group in wrong.children:
            for name, array in wrong[group].data_vars.items():
                if "chain" in array.dims:
                    np.testing.assert_array_equal(array[1], array[0], err_msg=str(name))


@pytest.mark.parametrize(
    "last",
    [
        "y ~ 1 + relu(h)",
        nn.Equation("y ~ 1 + h", priors={"h": nn.Prior("Normal", mu=1.0, sigma=1.0)}),
        nn.Equation("y ~ 1 + cube(h)", functions={"cube": lambda z: z**3}),
    ],
)
def test_a_chain_stays_as_it_is_where_its_reflection_is_another_solution(last, data):
    network = hidden_network(data, ["h ~ 1 + geno", last])
    result = network.fit(draws=15, tune=15, **OPTIONS)
    wrong = with_second_chain_reflected(result, {"h_Intercept", "h_geno", "h_missing"})
    before = wrong.copy(deep=True)
    align_latent_nodes(network, wrong)
    xr.testing.assert_identical(before["posterior"].to_dataset(), wrong["posterior"].to_dataset())


def test_latent_nodes_of_a_layer_have_the_same_priors(data):
    network = hidden_network(data, ["h ~ 1 + geno", "y ~ 1 + sigmoid(h)"], h=nn.latent(3))
    assert np.ptp(network.priors["y"]["sigmoid(h)"].parameters["sigma"]) == 0.0


def test_a_column_without_values_is_no_latent_node_by_accident(data):
    omics = data.omics.assign(omic2=np.nan)
    with pytest.raises(nn.InputError, match=r"latent\(\['omic2'\]\)"):
        nn.Network(layers(data, omics=omics), ["omics ~ 1 + geno", "y ~ 1 + omics"])


@pytest.mark.parametrize("wrong", [0, ["a", "a"], True])
def test_impossible_latent_layers_are_refused(wrong):
    with pytest.raises(nn.InputError):
        nn.latent(wrong)


# ---------------------------------------------------------------- nodes without residual


def test_a_node_without_residual_is_what_its_parents_make_it(data):
    markers = list(data.genotypes.columns)
    network = nn.Network(
        layers(data, omics=nn.latent(["a", "b"])),
        [
            nn.Equation(
                "omics ~ 0 + geno",
                priors={"residual_variance": 0.0, "geno": nn.RRBLUP(slab_variance=0.05)},
                connections={"a": markers[:10], "b": markers[10:]},
            ),
            "y ~ 1 + tanh(omics)",
        ],
    )
    model = network.model
    effects = model["omics_geno"].eval(mode="FAST_COMPILE")
    assert not effects[10:, 0].any() and not effects[:10, 1].any()
    assert np.count_nonzero(effects) == 30
    rows = dict(nn.assign_steps(model).rows)
    assert rows["omics_geno_connected"] == rows["y_omics"] == "nuts"


def test_a_spike_or_observed_values_need_a_residual(data):
    equation = nn.Equation(
        "omics ~ 0 + geno", priors={"residual_variance": 0.0, "geno": nn.BayesC()}
    )
    with pytest.raises(nn.InputError, match="without a spike"):
        _ = nn.Network(layers(data, omics=nn.latent(2)), [equation, "y ~ 1 + tanh(omics)"]).model
    with pytest.raises(nn.InputError, match="has observed values"):
        _ = nn.Network(layers(data), [equation, "y ~ 1 + tanh(omics)"]).model


# ---------------------------------------------------------------- graphs and scales


def test_layers_in_sequence_and_a_trait_as_parent(data):
    """Two omics layers in sequence, direct edges, one trait acting on another."""
    rng = np.random.default_rng(1)
    ids = data.omics.index
    metabolites = pd.DataFrame(rng.normal(size=(len(ids), 2)), ids, ["m1", "m2"])
    traits = pd.DataFrame(rng.normal(size=(len(ids), 2)), ids, ["first", "second"])
    network = nn.Network(
        layers(data, metabolites=metabolites, pheno=traits),
        [
            "second ~ 1 + first + geno",
            "first ~ 1 + metabolites + geno",
            "metabolites ~ 1 + tanh(omics)",
            "omics ~ 1 + geno",
        ],
    )
    assert [node.name for node in network.nodes] == ["omics", "metabolites", "first", "second"]
    result = network.fit(draws=20, tune=20, **OPTIONS)
    table = nn.breeding_values(result)
    assert set(table["trait"]) == {"omic1", "omic2", "m1", "m2", "first", "second"}
    assert np.isfinite(table[["ebv", "sd"]]).all(axis=None)


def test_a_cycle_is_spelled_out(data):
    with pytest.raises(nn.InputError, match=r"omics <- y <- omics|y <- omics <- y"):
        nn.Network(layers(data), ["omics ~ 1 + geno + y", "y ~ 1 + omics"])


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_the_scale_of_the_omics_does_not_matter(data, factor):
    """The same seed gives the same breeding values of the trait, whatever the units."""
    omics = data.omics.copy()
    omics.iloc[::3, 0] = np.nan

    def ebv(omics):
        network = nn.Network(
            layers(data, omics=omics), ["omics ~ 1 + geno", "y ~ 1 + tanh(scale(omics))"]
        )
        table = nn.breeding_values(network.fit(draws=60, tune=60, **OPTIONS))
        return table.query("trait == 'y'")["ebv"].to_numpy()

    base, scaled = ebv(omics), ebv(omics * factor)
    assert np.corrcoef(base, scaled)[0, 1] > 0.99


# ---------------------------------------------------------------- what is refused, and how


def function_network(data, function, formula="y ~ 1 + f(omic1, omic2)"):
    equation = nn.Equation(formula, functions={"f": function})
    return nn.Network(layers(data), ["omics ~ 1 + geno", equation])


def two_genotype_layers(data, connections):
    first, second = data.genotypes.iloc[:, :15], data.genotypes.iloc[:, 15:]
    given = {"c1": first, "c2": second, "omics": data.omics, "pheno": data.phenotypes}
    equation = nn.Equation("omics ~ 1 + c1 + c2", connections=connections)
    return nn.Network([nn.Layer(*g) for g in given.items()], [equation, "y ~ 1 + omics"])


REFUSED = {
    r"'tanh' is built in": lambda data: nn.Equation(
        "y ~ 1 + tanh(omics)", functions={"tanh": lambda z: z}
    ),
    r"returned 240 rows; it must return one for each": lambda data: (
        function_network(data, lambda a, b: pt.concatenate([a, b])).model
    ),
    r"has the discrete unknown 'coin'": lambda data: (
        function_network(data, lambda a, b: a * pm.Bernoulli("coin", 0.5) + b).model
    ),
    r"Nothing depends on the latent layer 'h'": lambda data: nn.Network(
        [*layers(data), nn.Layer("h", nn.latent(1))],
        ["h ~ 1 + geno", "omics ~ 1 + geno", "y ~ 1 + omics"],
    ),
    r"Layers 'h' and 'omics' both have a column 'omic1'": lambda data: nn.Network(
        [*layers(data), nn.Layer("h", nn.latent(["omic1"]))],
        ["h ~ 1 + geno", "omics ~ 1 + geno", "y ~ 1 + omics + h"],
    ),
    r"give connections by term: \{'c1': \{...\}, 'c2': \{...\}\}": lambda data: two_genotype_layers(
        data, {"omic1": ["snp1"], "omic2": ["snp30"]}
    ),
    r"Layer 'omics' was taken for genotypes": lambda data: nn.Network(
        layers(data), ["y ~ 1 + omics"]
    ),
    r"latent='gibbs' needs one omics layer": lambda data: nn.assign_steps(
        nn.Network(
            layers(data, omics=data.omics.mask(data.omics > 1.0)),
            ["omics ~ 1 + geno", "y ~ 1 + tanh(omics) + omic1"],
        ).model,
        latent="gibbs",
    ),
    r"latent\(2.5\): give a whole number": lambda data: nn.latent(2.5),
    r"two or more results, to compare": lambda data: nn.compare_networks([1, 2]),
    r"'a' has no log likelihood of phenotypes": lambda data: nn.compare_networks({"a": 1, "b": 2}),
    r"omics=\['omic1'\] must be a mapping": lambda data: nn.intervene(
        None, data.genotypes, omics=["omic1"]
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_is_refused_in_one_sentence(message, data):
    with pytest.raises(nn.InputError, match=message):
        REFUSED[message](data)


def test_columns_with_equations_of_their_own_make_their_layer_a_table(data):
    network = nn.Network(
        layers(data), ["omic1 ~ 1 + geno", "omic2 ~ 1 + geno", "y ~ 1 + tanh(omics)"]
    )
    assert {node.name for node in network.nodes} == {"omic1", "omic2", "y"}


def test_a_column_that_no_marker_reaches_has_a_sensible_prior(data):
    equation = nn.Equation("omics ~ 1 + geno", connections={"omic1": []})
    network = nn.Network(layers(data), [equation, "y ~ 1 + omics"])
    rates = network.priors["omics"]["geno"].slab_variance.parameters["beta"]
    assert rates.max() < 10.0 * rates.min()


def test_connections_by_term_may_span_genotype_layers(data):
    given = {"c1": {"omic1": ["snp1"], "omic2": []}, "c2": {"omic1": [], "omic2": ["snp30"]}}
    masks = [edge.mask for edge in two_genotype_layers(data, given).nodes[0].markers]
    assert [np.argwhere(mask).tolist() for mask in masks] == [[[0, 0]], [[14, 1]]]

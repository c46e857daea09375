"""Ready-made networks: every shipped file, round trips, and files that must be refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import nnmm_pymc as nn
from nnmm_pymc.activations import FUNCTIONS
from nnmm_pymc.alphabet import (
    GBLUP,
    RRBLUP,
    BayesA,
    BayesB,
    BayesC,
    BayesL,
    BayesR,
    Horseshoe,
    MarkerPrior,
)
from nnmm_pymc.data import latent
from nnmm_pymc.errors import InputError
from nnmm_pymc.formula import Equation
from nnmm_pymc.network import Layer, Network
from nnmm_pymc.prior_groups import MarkerGroups
from nnmm_pymc.priors import Prior
from nnmm_pymc.registry import NetworkDescription, list_models, load_model, save_model

#: Shipped models, and a variable that tells each of them.
VARIABLES = {
    "animal": "pheno_ped_variance",
    "bayesa": "pheno_geno_scale",
    "bayesb": "pheno_geno_inclusion",
    "bayesc": "pheno_geno_inclusion",
    "bayesl": "pheno_geno_lambda_squared",
    "bayesr": "pheno_geno_class_probabilities",
    "counts": "pheno_ped_variance",
    "direct_and_mediated": "pheno_geno",
    "gblup": "pheno_geno_genetic_variance",
    "horseshoe": "pheno_geno_local_scale",
    "maternal": "pheno_ped(dam)_variance",
    "multi_trait": "pheno_residual_covariance",
    "multi_trait_animal": "pheno_ped_covariance",
    "nnmm_function": "pheno_root_ratio(omic1,omic2)",
    "nnmm_latent": "hidden_missing",
    "nnmm_linear": "pheno_omics",
    "nnmm_partial": "omics_geno_inclusion",
    "nnmm_polygenic": "omics_ped_variance",
    "nnmm_selection": "pheno_omics_inclusion",
    "nnmm_sigmoid": "pheno_omics",
    "nnmm_tanh": "pheno_omics",
    "polygenic": "pheno_ped_variance",
    "repeatability": "pheno_1|animal_variance",
    "rrblup": "pheno_geno_slab_variance",
    "single_step": "pheno_h_variance",
    "threshold": "pheno_ped_variance",
    "two_layers": "metabolites_expression",
}
NAMES = list(VARIABLES)
GENES = {"omic1": ["snp1", "snp2"], "omic2": ["snp3", "snp9"]}


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    """Complete data of 60 individuals for every layer that a shipped model has."""
    simulated = nn.simulate(60, 20, 2, random_seed=1)
    omics, rng = simulated.omics_complete, np.random.default_rng(1)
    metabolites = omics.to_numpy() @ [[1.0, 0.5], [-0.5, 1.0]] + rng.normal(size=(60, 2))
    names = omics.index
    parents = {"sire": names[rng.integers(0, 20, 60)], "dam": names[rng.integers(20, 40, 60)]}
    rows = pd.DataFrame({"individual": names, **parents})
    rows.loc[:39, ["sire", "dam"]] = "0"
    pedigree = nn.read_pedigree(rows)
    return {
        "geno": simulated.genotypes,
        "omics": omics,
        "expression": omics.set_axis(["gene1", "gene2"], axis=1),
        "metabolites": pd.DataFrame(metabolites, omics.index, ["met1", "met2"]),
        "pheno": simulated.phenotypes,
        "ped": pedigree,
        "h": nn.single_step(pedigree, nn.read_genotypes(simulated.genotypes.iloc[30:])),
    }


def filled(model: NetworkDescription, data: dict[str, Any]) -> Network:
    """The network of a model with data for its layers."""
    words = {n for e in model.equations for t in e.terms for n in t.names}
    words |= {n for e in model.equations for n in e.left}
    words |= {"omics"} if "omic1" in words else set()
    connections = {"omics": GENES} if model.partial else None
    return model.network(connections, **{k: v for k, v in data.items() if k in words})


def records_for(name: str, data: dict[str, Any]) -> Any:
    """Phenotypes as a model needs them: repeated, with dams, scores or counts."""
    pheno = data["pheno"]
    if name == "repeatability":
        again = pd.concat([pheno, pheno.iloc[:20] + 0.5]).rename_axis("animal").reset_index()
        return Layer("pheno", again, individual="animal")
    if name == "maternal":
        founders = np.repeat(data["ped"].individuals[20:40], 3)[:40]
        return pheno.assign(dam=[*founders[:40], *data["ped"].individuals[data["ped"].dam[40:]]])
    if name in ("threshold", "counts"):
        return np.ceil(pheno.rank(pct=True) * 4)
    return pheno


def tables():
    rng = np.random.default_rng(0)
    people = [f"i{k}" for k in range(12)]
    columns = {"geno": ["s1", "s2", "s3"], "omics": ["g1", "g2"], "pheno": ["y1", "y2"]}
    data = {
        k: pd.DataFrame(rng.normal(size=(12, len(c))), index=people, columns=c)
        for k, c in columns.items()
    }
    data["geno"] = pd.DataFrame(
        np.array([[0, 1, 2] * 4, [2, 0, 0] * 4, [1, 1, 0] * 4]).T,
        index=people,
        columns=columns["geno"],
    )
    return data


def test_shipped_models_are_listed():
    table = list_models()
    assert list(table.columns) == ["name", "summary"]
    assert sorted(table["name"]) == NAMES
    assert table["summary"].str.len().min() > 10


@pytest.mark.parametrize("name", NAMES)
def test_shipped_model_fits(name, data):
    model = load_model(name)
    assert model.name == name
    assert model.references
    if name.startswith("multi_trait"):
        both = data["pheno"].assign(y2=data["pheno"]["y"].to_numpy()[::-1])
        data = data | {"pheno": both}
    data = data | {"pheno": records_for(name, data)}
    network = filled(model, data)
    result = network.fit(20, 10, 1, 1, random_seed=1, progressbar=False, quiet=True)
    assert result["posterior"].sizes["draw"] == 20
    assert VARIABLES[name] in result["posterior"]
    ebv = nn.breeding_values(result).query("trait == 'y'")
    assert len(ebv) == 60
    assert ebv["ebv"].std() > 0
    new = network.predict(result, data["geno"] if "geno" in network.tables else None)
    new = new.query("trait == 'y'")
    np.testing.assert_allclose(new["ebv"], ebv["ebv"], atol=1e-5)


def test_contents_of_a_model():
    omics, pheno = load_model("direct_and_mediated").equations
    assert omics.priors == {"geno": BayesC(inclusion=Prior("Beta", alpha=1, beta=1))}
    assert pheno.right == ("1", "tanh(scale(omics))", "geno")
    assert pheno.priors == {"geno": RRBLUP()}
    assert "tanh(scale(omics))" in str(load_model("nnmm_tanh"))


def test_lacking_layer_is_named():
    data = tables()
    with pytest.raises(InputError, match="'omics' is neither a layer"):
        load_model("nnmm_tanh").network(geno=data["geno"], pheno=data["pheno"])


def test_unknown_name_is_answered_with_the_choices(tmp_path):
    with pytest.raises(InputError, match=r"'nnmm_tan'.*bayesc.*rrblup"):
        load_model("nnmm_tan")
    with pytest.raises(InputError, match=r"none\.toml: cannot be read"):
        load_model(tmp_path / "none.toml")


@pytest.mark.parametrize("name", NAMES)
def test_round_trip_of_shipped_models(name, tmp_path):
    model = load_model(name)
    save_model(model, tmp_path / f"{name}.toml")
    assert load_model(tmp_path / f"{name}.toml") == model
    assert load_model(str(tmp_path / f"{name}.toml")) == model


def test_round_trip_of_a_network_with_many_kinds_of_priors(tmp_path):
    nested = Prior("Normal", mu=0, sigma=Prior("HalfNormal", sigma=1.5, dims=()))
    equations = [
        Equation(
            "omics ~ 1 + geno",
            priors={
                "geno": BayesC(inclusion=0.05, slab_variance=Prior("HalfCauchy", beta=1e-5)),
                "residual_variance": Prior("InverseGamma", alpha=2.5, beta=np.float64(1.25)),
            },
        ),
        Equation(
            "pheno ~ tanh(scale(omics))",
            priors={"tanh(scale(omics))": nested, "residual_variance": np.array([1.0, 2.0])},
        ),
    ]
    network = Network([Layer(k, v) for k, v in tables().items()], equations)
    save_model(network, tmp_path / "mine.toml", summary='A "quoted"\nsummary', references=["é\\"])
    read = load_model(tmp_path / "mine.toml")
    assert (read.name, read.summary, read.references) == ("mine", 'A "quoted"\nsummary', ("é\\",))
    assert read.equations[0] == equations[0]
    assert read.equations[1].formula == equations[1].formula
    assert read.equations[1].priors == {
        "tanh(scale(omics))": nested,
        "residual_variance": [1.0, 2.0],
    }
    assert read.network(**tables()).model.free_RVs


PRIORS = [
    GBLUP(),
    GBLUP(genetic_variance=0.5),
    RRBLUP(slab_variance=Prior("HalfNormal", sigma=0.1)),
    BayesA(df=4.5, scale=Prior("Gamma", alpha=2, beta=3)),
    BayesA(slab_variance=Prior("InverseGamma", alpha=2, beta=3)),
    BayesB(inclusion=0.1, df=Prior("Gamma", alpha=2, beta=0.1)),
    BayesL(lambda_squared=20),
    BayesR(class_probabilities=[0.9, 0.06, 0.03, 0.01]),
    BayesR(class_probabilities=Prior("Dirichlet", a=[9, 1, 1]), class_variances=(0.01, 1.0)),
    Horseshoe(n_causal=3),
    Horseshoe(global_scale=Prior("HalfCauchy", beta=0.1), slab_variance=0.5),
    MarkerPrior(0.1, 0.2),
    MarkerPrior([[[0.1, 0.2]]], [[[0.01, 0.1]]], classes=True),
    {"omic1": BayesC(inclusion=0.2), "*": RRBLUP()},
    MarkerGroups("chromosome", BayesR()),
    MarkerGroups("chip 2", {"a": BayesC(), "*": BayesA()}),
    {"omic1": MarkerGroups("chromosome", BayesC()), "*": RRBLUP()},
]


@pytest.mark.parametrize("prior", PRIORS, ids=repr)
def test_round_trip_of_priors(prior, tmp_path):
    equations = (Equation("omics ~ 1 + geno", priors={"geno": prior}),)
    save_model(NetworkDescription("m", "s", (), equations), tmp_path / "m.toml")
    assert load_model(tmp_path / "m.toml").equations == equations
    assert "false" not in (tmp_path / "m.toml").read_text()


def test_priors_by_column_reach_the_model(tmp_path, data):
    text = """name = "m"
summary = "s"
[[equation]]
formula = "omics ~ 1 + geno"
priors.geno = { omic1 = { prior = "BayesC" }, "*" = { prior = "RRBLUP" } }
[[equation]]
formula = "pheno ~ 1 + omics"
"""
    (tmp_path / "m.toml").write_text(text)
    network = filled(load_model(tmp_path / "m.toml"), data)
    assert network.equations[0].priors["geno"] == {"omic1": BayesC(), "*": RRBLUP()}
    inclusions = [v.name for v in network.model.free_RVs if v.name.endswith("inclusion")]
    assert inclusions == ["omics_geno_omic1_inclusion"]


def test_latent_layers_need_no_data_and_may_be_given_some(data, tmp_path):
    model = load_model("nnmm_latent")
    assert model.latent == {"hidden": latent(2)}
    assert "latent_2" in str(model)
    given = {"geno": data["geno"], "pheno": data["pheno"]}
    assert model.network(**given).nodes[0].columns == ("latent_1", "latent_2")
    assert model.network(hidden=latent(3), **given).nodes[0].columns[-1] == "latent_3"
    measured = model.network(hidden=data["omics"], **given)
    assert not measured.nodes[0].hidden
    for nodes in (latent(4), latent(["growth", "intake"])):
        network = model.network(hidden=nodes, **given)
        save_model(network, tmp_path / "mine.toml")
        assert load_model(tmp_path / "mine.toml").latent == {"hidden": nodes}


def test_partial_model_needs_connections(data, tmp_path):
    model = load_model("nnmm_partial")
    given = {k: data[k] for k in ("geno", "omics", "pheno")}
    with pytest.raises(InputError, match=r"'nnmm_partial' .* 'omics' needs connections"):
        model.network(**given)
    network = model.network({"omics": GENES}, **given)
    reached = network.nodes[0].markers[0].mask
    for k, omic in enumerate(GENES):
        assert data["geno"].columns[reached[:, k]].tolist() == GENES[omic]
    save_model(network, tmp_path / "mine.toml")
    saved = load_model(tmp_path / "mine.toml")
    assert saved.partial == ("omics",)
    assert saved.equations == model.equations


def test_connections_are_of_a_left_side_or_a_term(data):
    given = {k: data[k] for k in ("geno", "omics", "pheno")}
    model = load_model("direct_and_mediated")
    weights = {"y": ["omic2"]}
    pheno = model.network({"tanh(scale(omics))": weights}, **given).nodes[1]
    assert pheno.parents[0].mask.ravel().tolist() == [False, True]
    assert pheno.markers[0].mask is None
    both = model.network({"omics": GENES, "pheno": {"geno": {"y": ["snp4"]}}}, **given).nodes
    assert both[0].markers[0].mask.sum() == 4
    assert both[1].markers[0].mask.sum() == 1
    own = NetworkDescription(
        "m", "s", (), (Equation("omics ~ geno", connections=GENES), Equation("pheno ~ omics"))
    )
    kept = own.network({"pheno": weights}, **given)
    assert [e.connections for e in kept.equations] == [GENES, weights]
    for wrong, message in (
        ({"geno": GENES}, r"'geno'.* of several equations \(omics, pheno\)"),
        ({"gene": GENES}, "'gene'.* of no equation; name a left side: omics, pheno"),
        ({"omics": ["snp1"]}, "'omics' are .*mapping"),
    ):
        with pytest.raises(InputError, match=message):
            model.network(wrong, **given)


def test_functions_are_saved_if_they_are_built_in(tmp_path):
    def model(name, function):
        equation = Equation(f"y ~ 1 + {name}(z1, z2)", functions={name: function})
        return NetworkDescription("m", "s", (), (equation,))

    path = tmp_path / "m.toml"
    save_model(model("root_ratio", FUNCTIONS["root_ratio"]), path)
    assert load_model(path).equations == (Equation("y ~ 1 + root_ratio(z1, z2)"),)
    path.unlink()
    for name in ("product", "root_ratio"):
        with pytest.raises(InputError, match=f"'{name}', which a file cannot hold.*root_ratio"):
            save_model(model(name, lambda z1, z2: z1 * z2), path)
    assert not path.exists()


def test_what_cannot_be_saved_is_refused_and_nothing_written(tmp_path):
    path = tmp_path / "mine.toml"

    def model(prior, term="geno"):
        return NetworkDescription("m", "s", (), (Equation("y ~ 1 + geno", priors={term: prior}),))

    for prior, message in (
        (BayesC(inclusion=lambda name: name), r"prior of 'geno'.*cannot be written"),
        (MarkerGroups({"s1": "a"}, BayesC()), "prior of 'geno'.*groups name markers"),
        ({("a", "b"): BayesC(), "*": RRBLUP()}, "prior of 'geno'.*columns a, b share"),
    ):
        with pytest.raises(InputError, match=message):
            save_model(model(prior), path)
    with pytest.raises(InputError, match="Nrmal"):
        save_model(model(Prior("Nrmal", mu=0), "Intercept"), path)
    with pytest.raises(InputError, match=r"\.toml"):
        save_model(model(BayesC()), tmp_path / "mine.json")
    assert not list(tmp_path.iterdir())


GOOD = 'name = "m"\nsummary = "s"\n[[equation]]\nformula = "y ~ 1 + geno"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = ", "is not valid TOML"),
        ('summary = "s"', "'name'"),
        ('name = "m"\nsummary = "s"', "no \\[\\[equation\\]\\]"),
        ('name = "m"\nsummary = "s"\nequation = ["y ~ 1"]', "'equation\\[1\\]' must be a table"),
        ("colour = 1\n" + GOOD, "'colour' is not known"),
        ('references = "a"\n' + GOOD, "'references'"),
        (GOOD + "link = 1", "'equation\\[1\\].link' is not known"),
        (GOOD + 'priors.gene = { prior = "RRBLUP" }', "equation\\[1\\].*'gene'"),
        (GOOD + "priors.geno = {}", "'equation\\[1\\].priors.geno.prior'"),
        (GOOD + 'priors.geno = { prior = "BayesX" }', "'BayesX' is not .*BayesC"),
        (GOOD + 'priors.geno = { prior = "BayesC", pi = 1 }', "priors.geno.pi' is not known"),
        (GOOD + 'priors.geno = { prior = "RRBLUP", inclusion = 1 }', "geno.inclusion' is not"),
        (
            GOOD + 'priors.geno = { prior = "BayesC", inclusion = { prior = "Bta" } }',
            "geno.inclusion.prior': 'Bta' is not HalfTCovariance or a distribution",
        ),
        (
            GOOD + 'priors.geno = { prior = "BayesC", inclusion = { prior = "RRBLUP" } }',
            "'RRBLUP' is not HalfTCovariance or a distribution",
        ),
        (GOOD + 'priors.Intercept = { prior = "Normal", mean = 0 }', "Intercept.mean' is not"),
        (GOOD + 'priors.Intercept = { prior = "Normal", mu = "0" }', "Intercept.mu' is '0'"),
        (GOOD + "priors.Intercept = true", "priors.Intercept' is True"),
        (GOOD + 'priors.Intercept = { prior = "Model" }', "'Model' is not"),
        (GOOD + 'priors.Intercept = { prior = "Flat", dims = 3 }', "Intercept.dims'"),
        (GOOD + 'family = "cauchy"', "equation\\[1\\].*'cauchy'"),
        (GOOD + 'priors.geno = { prior = "BayesC", inclusion = 2 }', "priors.geno': inclusion=2"),
        (GOOD + 'priors.geno = { prior = "MarkerPrior", classes = 1 }', "classes' is 1"),
        (GOOD + 'priors.geno.y = { prior = "Normal" }', "geno.y.prior' must name .*BayesC"),
        (GOOD + 'priors.geno.inclusion = { prior = "Beta" }', "geno.inclusion.prior' must name"),
        (GOOD + "priors.geno = { groups = 1, priors = 2 }", "geno.groups' must name a column"),
        (GOOD + 'priors.geno = { groups = "chip", priors = 2 }', "geno.priors.prior' must name"),
        (GOOD + 'priors.geno = { groups = "chip", prior = "RRBLUP" }', "geno.prior' is not known"),
        ('latent = ["z"]\n' + GOOD, "'latent' must be a table"),
        ("latent = { z = true }\n" + GOOD, "'latent.z' is True"),
        ("latent = { z = 0 }\n" + GOOD, "'latent.z': .*at least 1"),
        ('partial = ["geno"]\n' + GOOD, "'partial' names 'geno', .* left sides are y"),
    ],
)
def test_bad_file_is_refused_with_file_and_key(text, message, tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=rf"bad\.toml: .*{message}"):
        load_model(path)


def test_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "bad.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"bad\.toml: is not valid TOML"):
        load_model(tmp_path / "bad.toml")


@pytest.mark.parametrize(
    "formula",
    [
        "y ~ 1 + exec(geno)",
        "y ~ 1 + os.system(geno)",
        "y ~ 1 + I({geno})",
        "y ~ 1 + I(geno[0])",
        "y ~ 1 + tanh(open('x'))",
        "y ~ 1 + (tanh)(geno)",
        "y ~ 1 + `geno`",
        "y ~ 1 + root_ratio(geno)",
        "y ~ 1 + root_ratio(a, b)(c)",
        "y ~ 1 + root_ratio(a, open('x'))",
        "y ~ 1 + tanh(a, b)",
    ],
)
def test_formula_of_a_file_cannot_reach_python(formula, tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text(GOOD.replace("y ~ 1 + geno", formula), encoding="utf-8")
    with pytest.raises(InputError, match="not allowed in a file"):
        load_model(path)

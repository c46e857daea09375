"""Ready-made networks: every shipped file, round trips, and files that must be refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from nnmm_pymc.errors import InputError
from nnmm_pymc.formula import Equation
from nnmm_pymc.network import Layer, Network
from nnmm_pymc.alphabet import RRBLUP, BayesC
from nnmm_pymc.priors import Prior
from nnmm_pymc.registry import NetworkDescription, list_models, load_model, save_model

NAMES = ["bayesc", "direct_and_mediated", "nnmm_linear", "nnmm_sigmoid", "nnmm_tanh", "rrblup"]


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
    assert set(NAMES) <= set(table["name"])
    assert table["summary"].str.len().min() > 10


@pytest.mark.parametrize("name", list_models()["name"])
def test_shipped_model_makes_a_network(name):
    description = load_model(name)
    assert description.name == name
    assert description.references
    words = {n for e in description.equations for t in e.terms for n in t.names}
    words |= {n for e in description.equations for n in e.left}
    network = description.network(**{k: v for k, v in tables().items() if k in words})
    assert network.nodes[-1].columns == ("y1", "y2")
    assert network.model.free_RVs


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


def test_what_cannot_be_saved_is_refused_and_nothing_written(tmp_path):
    path = tmp_path / "mine.toml"

    def model(**options):
        return NetworkDescription("m", "s", (), (Equation("y ~ 1 + geno", **options),))

    with pytest.raises(InputError, match="connections"):
        save_model(model(connections={"y": ["s1"]}), path)
    with pytest.raises(InputError, match=r"prior of 'geno'.*cannot be written"):
        save_model(model(priors={"geno": BayesC(inclusion=lambda name: name)}), path)
    with pytest.raises(InputError, match="Nrmal"):
        save_model(model(priors={"Intercept": Prior("Nrmal", mu=0)}), path)
    with pytest.raises(InputError, match=r"\.toml"):
        save_model(model(), tmp_path / "mine.json")
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
            "geno.inclusion.prior': 'Bta' is not a distribution",
        ),
        (
            GOOD + 'priors.geno = { prior = "BayesC", inclusion = { prior = "RRBLUP" } }',
            "'RRBLUP' is not a distribution",
        ),
        (GOOD + 'priors.Intercept = { prior = "Normal", mean = 0 }', "Intercept.mean' is not"),
        (GOOD + 'priors.Intercept = { prior = "Normal", mu = "0" }', "Intercept.mu' is '0'"),
        (GOOD + "priors.Intercept = true", "priors.Intercept' is True"),
        (GOOD + 'priors.Intercept = { prior = "Model" }', "'Model' is not"),
        (GOOD + 'priors.Intercept = { prior = "Flat", dims = 3 }', "Intercept.dims'"),
        (GOOD + 'family = "cauchy"', "equation\\[1\\].*'cauchy'"),
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
    ],
)
def test_formula_of_a_file_cannot_reach_python(formula, tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text(GOOD.replace("y ~ 1 + geno", formula), encoding="utf-8")
    with pytest.raises(InputError, match="not allowed in a file"):
        load_model(path)

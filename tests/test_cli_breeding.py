"""Pedigrees, repeated records, random effects and families from the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_cli import TINY, nnmm

import nnmm_pymc as nn
from nnmm_pymc.errors import InputError
from nnmm_pymc.simulation.pedigree import simulate_pedigree


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """Pedigree of 60, genotypes of the last 40, one to three records of each of these."""
    folder = tmp_path_factory.mktemp("breeding")
    rng = np.random.default_rng(1)
    rows = simulate_pedigree(60, rng, generations=2, n_sires=4, n_dams=8)
    rows[["individual", "sire", "dam"]].to_csv(folder / "pedigree.csv", index=False)
    names = rows["individual"].to_numpy()[20:]
    dosages = pd.DataFrame(rng.integers(0, 3, (40, 15)), names, [f"snp{j}" for j in range(15)])
    dosages.to_csv(folder / "genotypes.csv", index_label="id")
    omics = pd.DataFrame(rng.normal(size=(40, 2)), names, ["omic1", "omic2"])
    omics.to_csv(folder / "omics.csv", index_label="id")
    owner = np.repeat(np.arange(40), rng.integers(1, 4, 40))
    table = pd.DataFrame({"cow": names[owner], "herd": rng.integers(1, 5, len(owner))})
    table["parity"] = [f"p{k}" for k in rng.integers(0, 2, len(owner))]
    table["weight"] = rng.uniform(0.5, 2.0, len(owner))
    table["milk"] = rng.normal(size=40)[owner] + rng.normal(size=len(owner))
    table["score"] = np.ceil(3 * table["milk"].rank(pct=True)).astype(int)
    table.to_csv(folder / "records.csv", index=False)
    table["low"], table["high"] = table["milk"] - 1.0, table["milk"] + 1.0
    first = table.drop_duplicates("cow")
    first.to_csv(folder / "first.csv", index=False)
    return folder


@pytest.fixture
def networks(monkeypatch) -> list[nn.Network]:
    """The networks that commands make, which are built and not sampled."""
    made: list[nn.Network] = []

    def fit(network, *_, **__):
        made.append(network)
        assert network.model.free_RVs
        raise InputError("seen")

    monkeypatch.setattr(nn.Network, "fit", fit)
    return made


def given(files: Path, *names: str) -> list[object]:
    return [part for name in names for part in (f"--{name}", files / f"{name}.csv")]


def test_repeated_records_are_fitted_and_predicted(files, tmp_path):
    out = tmp_path / "run"
    outcome = nnmm(
        "fit", *given(files, "pedigree"), "--phenotypes", files / "records.csv",
        "--individual", "cow", "--traits", "milk", "--covariates", "parity",
        "--random", "herd,cow", "--weights", "weight", *TINY, "--out", out,
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    assert "milk ~ 1 + parity + (1|herd) + (1|cow) + ped" in outcome.out
    assert "jointly, milk_1|cow nested" in outcome.out
    assert len(pd.read_csv(out / "ebv.csv")) == 60
    parts = pd.read_csv(out / "variance_components.csv")
    assert set(parts["component"]) == {"ped", "1|herd", "1|cow", "residual"}
    assert not (out / "marker_effects.csv").exists()
    assert "marker_effects" not in outcome.out

    predictions = tmp_path / "predictions.csv"
    outcome = nnmm("predict", out, "--out", predictions)
    assert outcome.status == 0, outcome.err
    everybody = pd.read_csv(predictions)
    np.testing.assert_allclose(everybody["ebv"], pd.read_csv(out / "ebv.csv")["ebv"], atol=1e-4)
    new = pd.read_csv(files / "first.csv").iloc[:3].assign(herd="elsewhere")
    new.to_csv(tmp_path / "new.csv", index=False)
    options = ["--covariates", tmp_path / "new.csv", "--out", predictions, "--overwrite"]
    outcome = nnmm("predict", out, *options)
    assert outcome.status == 0, outcome.err
    # That a cow is a level of (1|cow) her name says.
    assert pd.read_csv(predictions)["individual"].tolist() == new["cow"].tolist()
    outcome = nnmm("predict", out, *given(files, "genotypes"), "--out", tmp_path / "none.csv")
    assert outcome.status == 2
    assert "The fit has no genotypes; predict without them." in outcome.err


@pytest.mark.parametrize(
    ("options", "formulas"),
    [
        ("--pedigree --traits milk", ["milk ~ 1 + ped"]),
        ("--pedigree --genotypes --traits milk", ["milk ~ 1 + geno + ped"]),
        ("--pedigree --genotypes --single-step --traits milk", ["milk ~ 1 + h"]),
        ("--random herd --traits milk", ["milk ~ 1 + (1|herd)"]),
        (
            "--pedigree --omics --activation tanh --traits milk",
            ["omics ~ 1 + ped", "milk ~ 1 + tanh(scale(omics)) + ped"],
        ),
        (
            "--pedigree --genotypes --omics --direct --random herd --traits milk",
            ["omics ~ 1 + geno + ped", "milk ~ 1 + (1|herd) + omics + geno + ped"],
        ),
        ("--pedigree --traits score --family ordinal", ["score ~ 1 + ped"]),
        (
            "--genotypes --prior jointbayesc --traits milk,weight --random herd",
            ["milk + weight ~ 1 + (1|herd) + geno"],
        ),
        ("--pedigree --correlated --traits milk,weight", ["milk + weight ~ 1 + ped"]),
        (
            "--pedigree --traits milk --family censored --bounds low,high --covariates C(herd)",
            ["milk ~ 1 + C(herd) + ped"],
        ),
    ],
)
def test_options_spell_out_the_equations(files, networks, options, formulas):
    words = [given(files, w[2:]) if f"{w[2:]}.csv" in FILES else [w] for w in options.split()]
    arguments = [part for word in words for part in word]
    outcome = nnmm("fit", "--phenotypes", files / "first.csv", *arguments, "--out", files / "no")
    assert "nnmm: seen" in outcome.err, outcome.err
    assert [e.formula for e in networks[0].equations] == formulas
    last = networks[0].equations[-1]
    family = next((f for f in ("ordinal", "censored") if f in options), "gaussian")
    assert last.family == family
    assert last.bounds == (("low", "high") if family == "censored" else None)
    assert last.residual == ("correlated" if "--correlated" in options else "independent")


FILES = {"pedigree.csv", "genotypes.csv", "omics.csv"}


def test_columns_that_say_something_of_records_are_no_traits(files, networks):
    outcome = nnmm(
        "fit", *given(files, "pedigree"), "--phenotypes", files / "records.csv", "--individual",
        "cow", "--random", "herd,cow", "--weights", "weight", "--out", files / "no",
    )  # fmt: skip
    assert "Traits: milk, score (every numeric column" in outcome.out
    assert [e.left for e in networks[0].equations] == [("milk",), ("score",)]


def test_ready_made_models_take_a_pedigree_and_records(files, networks, tmp_path):
    records = pd.read_csv(files / "records.csv").rename(columns={"cow": "animal"})
    records.to_csv(tmp_path / "records.csv", index=False)
    common = ["--phenotypes", tmp_path / "records.csv", "--individual", "animal", "--traits"]
    options = [*given(files, "pedigree"), *common, "milk", "--out", tmp_path / "no"]
    outcome = nnmm("fit", "--model", "repeatability", *options)
    assert "nnmm: seen" in outcome.err, outcome.err
    assert networks[0].nodes[0].columns == ("milk",)
    (tmp_path / "mine.toml").write_text(
        'name = "mine"\nsummary = ""\n[[equation]]\n'
        'formula = "pheno ~ 1 + parity + (1|herd) + ped"\nweights = "weight"\n'
    )
    outcome = nnmm("fit", "--model", tmp_path / "mine.toml", *options)
    assert "nnmm: seen" in outcome.err, outcome.err
    assert networks[1].nodes[0].columns == ("milk",)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--traits", "milk"], ["Nothing acts on the traits", "--pedigree"]),
        (["--traits", "nope"], ["first.csv has no column 'nope'"]),
        (["--single-step"], ["--single-step is about genotypes; give --genotypes too."]),
        (["--prior", "bayesr", "--random", "herd"], ["--prior is about genotypes"]),
        (["--family", "gamma", "--random", "herd"], ["--family gamma is not known", "poisson"]),
        (["--random", "barn", "--traits", "milk"], ["'barn' is neither a layer"]),
        (["--individual", "sheep", "--random", "herd"], ["no column 'sheep'"]),
        (["--model", "animal", "--random", "herd"], ["--random makes equations"]),
        (["--model", "animal", "--correlated"], ["--correlated makes equations"]),
        (["--family", "censored", "--random", "herd"], ["needs two columns: --bounds"]),
        (["--bounds", "low,high", "--random", "herd"], ["--family censored, and no other"]),
        (["--model", "animal", "--traits", "milk"], ["'ped'"]),
    ],
)
def test_bad_options_get_one_sentence(files, tmp_path, options, words):
    outcome = nnmm("fit", "--phenotypes", files / "first.csv", *options, "--out", tmp_path / "no")
    assert outcome.status == 2
    assert outcome.err.count("\n") == 1
    assert all(word in outcome.err for word in words), outcome.err

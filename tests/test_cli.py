"""The command line and the results on disk: what they write, and what they say of bad input."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from unittest import mock
from zipfile import ZipFile

import numpy as np
import pandas as pd
import pytest

import nnmm_pymc as nn
from nnmm_pymc import cli_output, store
from nnmm_pymc.cli import main
from nnmm_pymc.cli_output import write_run
from nnmm_pymc.errors import InputError

TINY = ["--draws", "20", "--tune", "20", "--chains", "2", "--cores", "1", "--seed", "1"]


@dataclass(frozen=True)
class Outcome:
    """Exit status and output of one command."""

    status: int
    out: str
    err: str


def nnmm(*arguments: object) -> Outcome:
    """Run the command as a shell would, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(sys, "argv", ["nnmm", *map(str, arguments)]),
        pytest.raises(SystemExit) as stop,
    ):
        main()
    return Outcome(int(stop.value.code or 0), out.getvalue(), err.getvalue())


def inputs(folder: Path) -> list[object]:
    return [
        "--genotypes", folder / "genotypes.csv",
        "--omics", folder / "omics.csv",
        "--phenotypes", folder / "phenotypes.csv",
    ]  # fmt: skip


def without_omics(folder: Path) -> list[object]:
    return [*inputs(folder)[:2], *inputs(folder)[4:]]


@pytest.fixture(scope="module")
def files(simulation, tmp_path_factory) -> Path:
    """Folder with the simulation as files."""
    folder = tmp_path_factory.mktemp("files")
    simulation.to_csv(folder)
    return folder


@pytest.fixture
def data(files, tmp_path) -> Path:
    """A copy of `files` to spoil."""
    return Path(shutil.copytree(files, tmp_path / "data"))


@pytest.fixture(scope="module")
def run(fitted, tmp_path_factory) -> Path:
    """Folder of a finished fit."""
    folder = tmp_path_factory.mktemp("run")
    store.save(fitted, folder)
    return folder


@pytest.mark.slow
def test_fit_says_what_it_does_and_writes_tables(files, simulation, tmp_path):
    out = tmp_path / "run"
    outcome = nnmm("fit", *inputs(files), "--activation", "tanh", *TINY, "--out", out)

    assert outcome.status == 0, outcome.err
    for said in (
        "30 of 30 markers kept",
        "80 individuals: 80 kept, 0 dropped",
        "omics ~ 1 + geno",
        "y ~ 1 + tanh(scale(omics))",
        "marker_gibbs",
        "Few effective draws",
    ):
        assert said in outcome.out
    assert "Warning" not in outcome.out + outcome.err
    assert (out / "fit.png").read_bytes().startswith(b"\x89PNG")
    result = store.load(out)
    assert result["posterior"].sizes["draw"] == 20
    ebv = pd.read_csv(out / "ebv.csv")
    pd.testing.assert_frame_equal(ebv, nn.breeding_values(result), rtol=1e-5)
    assert set(ebv["trait"]) == {"y", "omic1", "omic2"}
    assert len(pd.read_csv(out / "marker_effects.csv")) == 30 * 2
    assert list(pd.read_csv(out / "heritability.csv")["trait"]) == ["y", "omic1", "omic2"]
    weights = pd.read_csv(out / "weights.csv").set_index("omic")
    mean = result["posterior"]["y_omics"].mean(("chain", "draw")).to_series()
    np.testing.assert_allclose(weights["mean"], mean.loc[weights.index, "y"], rtol=1e-5)


@pytest.mark.slow
def test_demo_ends_with_truth_convergence_and_files(tmp_path):
    outcome = nnmm("demo", "--draws", 20, "--out", tmp_path / "run")

    assert outcome.status == 0, outcome.err
    for said in ("withheld", "Largest marker effects", "Weights of the omics", "Convergence"):
        assert said in outcome.out
    assert str(tmp_path / "run" / "fit.png") in outcome.out
    assert (tmp_path / "run" / "fit.png").exists()


def test_fit_of_a_ready_made_model_without_omics(files, tmp_path):
    out = tmp_path / "run"
    options = ["--model", "nnmm_latent", *TINY, "--out", out]
    outcome = nnmm("fit", *without_omics(files), *options)
    assert outcome.status == 0, outcome.err
    assert "pheno ~ 1 + tanh(hidden)" in outcome.out
    assert set(pd.read_csv(out / "weights.csv")["omic"]) == {"latent_1", "latent_2"}
    predictions = tmp_path / "predictions.csv"
    new = ["--genotypes", files / "genotypes.csv", "--out", predictions]
    assert nnmm("predict", out, *new).status == 0
    ebv = pd.read_csv(out / "ebv.csv").query("trait == 'y'")["ebv"]
    np.testing.assert_allclose(pd.read_csv(predictions)["ebv"], ebv, atol=1e-4)


@pytest.mark.parametrize("prior", ["bayesa", "bayesb", "bayesl", "bayesr", "gblup", "horseshoe"])
def test_priors_of_the_alphabet_by_name(files, tmp_path, prior):
    options = ["--prior", prior, "--draws", "0", "--out", tmp_path / "run"]
    said = nnmm("fit", *inputs(files), *options).out.lower()
    assert f"omics ~ 1 + geno\n    geno: {prior}(" in said


def test_fit_fills_the_layers_and_connections_of_a_model(files, simulation, tmp_path, monkeypatch):
    simulation.omics.rename(columns=str.upper).to_csv(tmp_path / "genes.csv")
    simulation.omics.to_csv(tmp_path / "metabolites.csv")
    (tmp_path / "links.tsv").write_text("gene\tmarker\nOMIC1\tsnp3\nOMIC1\tsnp7\nOMIC2\tsnp5\n")
    networks = []

    def fit(network, *_, **__):
        networks.append(network)
        raise InputError("seen")

    monkeypatch.setattr(nn.Network, "fit", fit)
    outcome = nnmm(
        "fit", *without_omics(files), "--model", "two_layers", "--traits", "y",
        "--layer", f"expression={tmp_path / 'genes.csv'}",
        "--layer", f"metabolites={tmp_path / 'metabolites.csv'}",
        "--connections", f"expression={tmp_path / 'links.tsv'}", "--out", tmp_path / "run",
    )  # fmt: skip
    assert "3 connections of 2 columns of expression" in outcome.out
    expression, metabolites, pheno = networks[0].nodes
    reached = expression.markers[0].mask
    assert reached.sum(axis=0).tolist() == [2, 1]
    assert metabolites.columns == ("omic1", "omic2")
    assert pheno.columns == ("y",)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--model", "nnmm_tahn"], ["'nnmm_tahn'", "nnmm_tanh"]),
        (["--model", "nnmm_tanh", "--prior", "rrblup"], ["--prior", "--model nnmm_tanh"]),
        (["--model", "nnmm_tanh", "--direct"], ["--direct", "--model nnmm_tanh"]),
        (["--model", "bayesc"], ["'omics'", "used by no equation"]),
        (["--model", "nnmm_partial"], ["'nnmm_partial'", "'omics' needs connections"]),
        (["--prior", "bayesx"], ["--prior bayesx", "bayesr"]),
        (["--layer", "genes"], ["--layer genes", "NAME=FILE"]),
        (["--layer", "omics=x.csv"], ["'omics' has a file already"]),
        (["--connections", "omics=none.csv"], ["none.csv", "no such file"]),
    ],
)
def test_bad_model_or_layer_gets_one_sentence(files, tmp_path, options, named):
    outcome = nnmm("fit", *inputs(files), *options, "--out", tmp_path / "run")
    assert_one_sentence(outcome, *named)


def test_traits_of_a_model_file_are_its_own(files, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('name = "m"\nsummary = "s"\n[[equation]]\nformula = "y ~ 1 + geno"\n')
    fit = ["fit", *without_omics(files), "--model", path, "--out", tmp_path / "run"]
    assert "m: s\n  y ~ 1 + geno" in nnmm(*fit, "--draws", "0").out
    assert_one_sentence(nnmm(*fit, "--traits", "y"), "--traits", "mine.toml")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("omic,marker\nomic1,\n", ["line 2", "two fields"]),
        ("omic,marker,pip\nomic1,snp1,0\n", ["line 2", "two fields"]),
        ("omic1,snp1\nomic1,snp2\n", ["first line must be a header"]),
        ("omic1,snp1\nomic2,snp2\n", ["the header names the column 'omic1'"]),
        ("omic,marker\nomic1,snp99\n", ["'omic1'", "'snp99'"]),
        ("omic,marker\nomic9,snp1\n", ["'omic9'"]),
    ],
)
def test_bad_connections_get_one_sentence(files, tmp_path, text, named):
    (tmp_path / "links.csv").write_text(text)
    options = ["--connections", f"omics={tmp_path / 'links.csv'}", "--out", tmp_path / "run"]
    assert_one_sentence(nnmm("fit", *inputs(files), *options), *named)


def test_fit_keeps_an_older_result(files, run):
    before = (run / store.RESULT_FILE).read_bytes()
    outcome = nnmm("fit", *inputs(files), "--out", run)
    assert outcome.status == 2
    assert "--overwrite" in outcome.err
    assert (run / store.RESULT_FILE).read_bytes() == before


def test_outputs_replace_only_what_is_of_a_run(data, run, tmp_path):
    ebv = Path(shutil.copy(data / "phenotypes.csv", data / "ebv.csv"))
    given = [*inputs(data)[:4], "--phenotypes", ebv]
    for options, words in (
        (["fit", *given, "--out", data, "--overwrite"], ["ebv.csv is an input"]),
        (["fit", *inputs(data), "--out", data, "--overwrite"], ["ebv.csv", "no result"]),
        (["predict", run, *inputs(data)[:2], "--out", ebv], ["ebv.csv exists", "--overwrite"]),
        (["predict", run, *inputs(data)[:2], "--out", data], ["is a folder"]),
        (
            ["predict", run, *inputs(data)[:2], "--out", inputs(data)[1], "--overwrite"],
            ["genotypes.csv is an input"],
        ),
        (
            ["predict", run, *inputs(data)[:2], "--out", run / store.RESULT_FILE, "--overwrite"],
            [f"{store.RESULT_FILE} is an input"],
        ),
    ):
        assert_one_sentence(nnmm(*options), *words)
    assert ebv.read_bytes() == (data / "phenotypes.csv").read_bytes()
    assert nnmm("predict", run, *inputs(data)[:2], "--out", ebv, "--overwrite").status == 0
    assert "prediction" in ebv.read_text()


def test_tables_of_a_former_run_are_replaced(fitted, tmp_path):
    store.save(fitted, tmp_path)
    (tmp_path / "level_effects.csv").write_text("of herds that are no more")
    (tmp_path / "notes.txt").write_text("mine")
    written = write_run(fitted, tmp_path)
    assert set(tmp_path.iterdir()) == {*written, tmp_path / "notes.txt"}
    assert tmp_path / "level_effects.csv" not in written


def test_result_is_saved_elsewhere_if_the_disk_is_full(fitted, tmp_path, monkeypatch):
    (tmp_path / "full").mkdir()
    (tmp_path / "spare").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "spare"))
    make = shutil.make_archive

    def full(base: str, *arguments: object) -> str:
        if "full" in base:
            raise OSError(28, "No space left on device")
        return make(base, *arguments)

    with (
        mock.patch.object(store.shutil, "make_archive", full),
        pytest.raises(InputError, match=r"No space left on device.*The result is in (.*) instead"),
    ):
        write_run(fitted, tmp_path / "full")
    (spare,) = (tmp_path / "spare").iterdir()
    assert store.load(spare).identical(fitted)
    with (
        mock.patch.object(cli_output, "_draw", side_effect=OSError(28, "No space left on device")),
        pytest.raises(InputError, match="the result is saved, but not all"),
    ):
        write_run(fitted, tmp_path / "full")
    assert store.load(tmp_path / "full").identical(fitted)


@pytest.mark.slow
def test_result_is_written_before_it_is_shown(files, tmp_path):
    out = tmp_path / "run"

    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            if "Convergence" in text:
                raise BrokenPipeError
            return super().write(text)

    with mock.patch("io.StringIO", Closed), contextlib.suppress(BrokenPipeError):
        nnmm("fit", *inputs(files), *TINY, "--out", out)
    assert len(pd.read_csv(out / "ebv.csv")) == 80 * 3
    assert store.load(out)["posterior"].sizes["draw"] == 20


def test_interrupted_fit_says_how_to_go_on(files, tmp_path):
    stop = KeyboardInterrupt("The run was stopped; give resume=True (--resume) to go on.")
    with mock.patch.object(nn.Network, "fit", side_effect=stop):
        outcome = nnmm("fit", *inputs(files), "--out", tmp_path / "run")
    assert outcome.status == 130
    assert outcome.err == f"nnmm: {stop}\n"


def test_predict_gives_fitted_individuals_their_breeding_values(fitted, files, run, tmp_path):
    genotypes = pd.read_csv(files / "genotypes.csv", index_col=0)
    # Another order of markers and individuals: everything goes by name.
    genotypes.iloc[:5, ::-1].to_csv(tmp_path / "new.csv")
    out = tmp_path / "predictions.csv"
    outcome = nnmm("predict", run, "--genotypes", tmp_path / "new.csv", "--out", out)

    assert outcome.status == 0, outcome.err
    assert "30 of the 30 markers" in outcome.out
    found = pd.read_csv(out).set_index("individual")
    expected = nn.breeding_values(fitted).query("trait == 'y'").set_index("individual")
    np.testing.assert_allclose(found["ebv"], expected["ebv"].loc[found.index], atol=1e-4)
    np.testing.assert_allclose(found["ebv_sd"], expected["sd"].loc[found.index], atol=1e-4)


def test_predict_takes_one_individual_as_it_takes_many(files, run, tmp_path):
    """All markers of one individual are constant; none of them may be dropped for it."""
    genotypes = pd.read_csv(files / "genotypes.csv", index_col=0)
    found = []
    for count in (1, 6):
        genotypes.head(count).to_csv(tmp_path / "new.csv")
        out = tmp_path / f"{count}.csv"
        assert nnmm("predict", run, "--genotypes", tmp_path / "new.csv", "--out", out).status == 0
        found.append(pd.read_csv(out)["ebv"][0])
    assert found[0] == pytest.approx(found[1], abs=1e-6)


def test_predict_uses_known_omics_for_the_phenotype_only(files, run, simulation, tmp_path):
    simulation.omics_complete.head(40).to_csv(tmp_path / "omics.csv")
    with_omics, without = tmp_path / "with.csv", tmp_path / "without.csv"
    genotypes = ["--genotypes", files / "genotypes.csv"]
    outcome = nnmm(
        "predict", run, *genotypes, "--omics", tmp_path / "omics.csv", "--out", with_omics
    )
    nnmm("predict", run, *genotypes, "--out", without)

    assert "2 of the 2 omics of the fit, for 40 of the 80 individuals" in outcome.out
    a, b = pd.read_csv(with_omics), pd.read_csv(without)
    np.testing.assert_array_equal(a["ebv"], b["ebv"])
    assert (a["prediction_sd"] < b["prediction_sd"])[:40].mean() > 0.9


def test_models_are_listed_and_shown():
    assert "nnmm_tanh" in nnmm("models").out
    assert "pheno ~ 1 + tanh(scale(omics))" in nnmm("models", "nnmm_tanh").out
    assert_one_sentence(nnmm("models", "nnmm_tahn"), "'nnmm_tahn'", "nnmm_tanh")


def spoil_duplicate(folder: Path) -> None:
    edit_line(folder / "phenotypes.csv", 4, lambda line: "i2," + line.split(",")[1])


def spoil_ids(folder: Path) -> None:
    frame = pd.read_csv(folder / "phenotypes.csv", index_col=0)
    frame.set_axis([f"cow{i}" for i in range(len(frame))]).to_csv(folder / "phenotypes.csv")


def spoil_genotype(folder: Path) -> None:
    set_cell(folder / "genotypes.csv", "i3", "snp2", "7")


def spoil_number(folder: Path) -> None:
    set_cell(folder / "phenotypes.csv", "i3", "y", "tall")


def spoil_omic(folder: Path) -> None:
    frame = pd.read_csv(folder / "omics.csv", index_col=0)
    frame["omic2"] = 1.5
    frame.to_csv(folder / "omics.csv")


def spoil_missing_file(folder: Path) -> None:
    (folder / "omics.csv").unlink()


def edit_line(path: Path, number: int, change) -> None:
    lines = path.read_text().splitlines()
    lines[number - 1] = change(lines[number - 1])
    path.write_text("\n".join(lines) + "\n")


def set_cell(path: Path, individual: str, column: str, value: str) -> None:
    frame = pd.read_csv(path, index_col=0, dtype=str, keep_default_na=False)
    frame.loc[individual, column] = value
    frame.to_csv(path)


def assert_one_sentence(outcome: Outcome, *named: str) -> None:
    """One line that starts with the name of the command and holds these words; no traceback."""
    assert outcome.status == 2
    assert outcome.err.startswith("nnmm: ")
    assert outcome.err.count("\n") == 1
    for word in named:
        assert word in outcome.err


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (spoil_duplicate, ["phenotypes.csv", "'i2'", "3 and 4"]),
        (spoil_ids, ["phenotypes.csv", "cow0", "genotypes.csv", "i1"]),
        (spoil_genotype, ["genotypes.csv", "7", "'snp2'", "'i3'", "line 4"]),
        (spoil_number, ["phenotypes.csv", "'tall'", "'y'", "'i3'", "line 4"]),
        (spoil_omic, ["omics.csv", "'omic2'", "no variance"]),
        (spoil_missing_file, ["omics.csv"]),
    ],
)
def test_bad_file_gets_one_sentence(data, tmp_path, spoil, named):
    spoil(data)
    assert_one_sentence(nnmm("fit", *inputs(data), "--out", tmp_path / "run"), *named)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--traits", "height"], ["phenotypes.csv has no column ", "'height'"]),
        (["--covariates", "sex"], ["'sex'"]),
        (["--activation", "tahn"], ["tahn", "tanh"]),
        (["--activation", "scale"], ["scale is not known", "tanh"]),
        (["--omics-columns", "omic1,omic9"], ["omics.csv", "'omic9'"]),
        (["--id-column", "RIL"], ["phenotypes.csv", "'RIL'"]),
        (["--maf", "5"], ["maf=5", "0..0.5"]),
        (["--draws", "0"], ["draws=0"]),
    ],
)
def test_bad_option_gets_one_sentence(files, tmp_path, options, named):
    outcome = nnmm("fit", *inputs(files), *options, "--out", tmp_path / "run")
    assert_one_sentence(outcome, *named)


def test_activation_needs_omics(files, tmp_path):
    options = ["--activation", "tanh", "--out", tmp_path / "run"]
    outcome = nnmm("fit", *without_omics(files), *options)
    assert_one_sentence(outcome, "--activation tanh is about omics", "--omics")


@pytest.mark.parametrize("place", ["file", "file/run", "shut/run"])
def test_out_that_cannot_be_written_is_refused_before_sampling(files, tmp_path, monkeypatch, place):
    (tmp_path / "file").write_text("keep me")
    (tmp_path / "shut").mkdir()
    write = tempfile.NamedTemporaryFile

    def refusing(*, dir: Path, **options: object) -> object:  # root may write anywhere
        if dir.name == "shut":
            raise PermissionError(13, "Permission denied")
        return write(dir=dir, **options)

    shut = mock.patch.object(store.tempfile, "NamedTemporaryFile", refusing)
    sampled = mock.patch.object(nn.Network, "fit", side_effect=AssertionError("sampled"))
    with shut, sampled:
        outcome = nnmm("fit", *inputs(files), "--out", tmp_path / place)
    assert_one_sentence(outcome, str(tmp_path / place), "name another folder")
    assert (tmp_path / "file").read_text() == "keep me"
    assert not list((tmp_path / "shut").iterdir())


def test_fit_says_which_columns_it_takes_as_traits(data, tmp_path):
    frame = pd.read_csv(data / "phenotypes.csv", index_col=0)
    frame["case"] = [0, 1] * (len(frame) // 2)
    frame["litter"] = np.arange(len(frame))
    frame["herd"] = list("ab") * (len(frame) // 2)
    frame.to_csv(data / "phenotypes.csv")
    stop = ["--draws", "0", "--out", tmp_path / "run"]

    said = nnmm("fit", *inputs(data), *stop).out
    assert "Traits: y, case, litter (every numeric column of phenotypes.csv" in said
    assert "--traits" in said
    assert said.count("Warning: ") == 1
    assert "Warning: case has only the values 0, 1" in said
    for option in (["--traits", "y,litter"], ["--traits", "y", "--traits", "litter"]):
        said = nnmm("fit", *inputs(data), *option, *stop).out
        assert "litter ~ 1 + omics" in said
        assert "Traits: " not in said and "case" not in said
    frame[["herd"]].to_csv(data / "phenotypes.csv")
    assert_one_sentence(nnmm("fit", *inputs(data), *stop), "phenotypes.csv: no column is numeric")


def test_corrupted_bed_gets_one_sentence(data, tmp_path):
    fam = [f"f {i} 0 0 0 -9" for i in pd.read_csv(data / "phenotypes.csv")["ID"]]
    (data / "cohort.fam").write_text("\n".join(fam) + "\n")
    (data / "cohort.bim").write_text("1 snp1 0 100 A G\n1 snp2 0 200 A G\n")
    (data / "cohort.bed").write_bytes(b"\x6c\x1b\x01" + bytes(30))  # 40 bytes of calls belong here
    outcome = nnmm(
        "fit", "--genotypes", data / "cohort.bed", "--phenotypes", data / "phenotypes.csv",
        "--out", tmp_path / "run",
    )  # fmt: skip
    assert_one_sentence(outcome, "cohort.bed", "33 bytes", "43")


def test_predict_refuses_what_does_not_match(files, run, tmp_path):
    genotypes = pd.read_csv(files / "genotypes.csv", index_col=0)
    genotypes.add_prefix("other_").to_csv(tmp_path / "other.csv")
    outcome = nnmm("predict", run, "--genotypes", tmp_path / "other.csv")
    assert_one_sentence(outcome, "other.csv", "'other_snp1'", "'snp1'")

    (tmp_path / "omics.csv").write_text("ID,omic1\nnobody,1.0\nno one,2.0\n")
    outcome = nnmm(
        "predict", run, "--genotypes", files / "genotypes.csv", "--omics", tmp_path / "omics.csv"
    )
    assert_one_sentence(outcome, "omics.csv", "nobody", "genotypes.csv", "i1")

    (tmp_path / "omics.csv").write_text("ID,gene1\ni1,1.0\n")
    outcome = nnmm(
        "predict", run, "--genotypes", files / "genotypes.csv", "--omics", tmp_path / "omics.csv"
    )
    assert_one_sentence(outcome, "omics.csv", "'gene1'", "'omic1'")
    assert_one_sentence(
        nnmm("predict", tmp_path, "--genotypes", files / "genotypes.csv"), str(tmp_path)
    )


def with_nodes(result, change):
    """A copy of a result whose network is another one."""
    nodes = json.loads(result.attrs["network"])
    change(nodes)
    result = result.copy()
    result.attrs["network"] = json.dumps(nodes)
    return result


def test_predict_refuses_several_genotype_layers(fitted, files, tmp_path):
    result = with_nodes(fitted, lambda nodes: nodes[-1].update(markers={"y_chip": "chip"}))
    store.save(result, tmp_path)
    outcome = nnmm("predict", tmp_path, "--genotypes", files / "genotypes.csv")
    assert_one_sentence(outcome, "2 genotype layers (chip, geno)", "predict_network")


def test_known_omics_are_given_alone_or_by_layer(fitted, simulation):
    genotypes, omics = simulation.genotypes, simulation.omics_complete.iloc[:40, :1]
    alone = nn.predict_network(fitted, genotypes, omics)
    pd.testing.assert_frame_equal(
        nn.predict_network(fitted, {"geno": genotypes}, {"omics": omics}), alone
    )
    assert not alone.equals(nn.predict_network(fitted, genotypes))
    with pytest.raises(InputError, match=r"'proteins' is no omics layer of the fit \(omics\)"):
        nn.predict_network(fitted, genotypes, {"proteins": omics})

    twice = with_nodes(
        fitted, lambda nodes: nodes.insert(1, nodes[0] | {"name": "rna", "layer": "rna"})
    )
    with pytest.raises(InputError, match="'omic1' is in layers 'omics' and 'rna'"):
        nn.predict_network(twice, genotypes, omics)
    traits_only = with_nodes(fitted, lambda nodes: nodes[0].update(terminal=True))
    with pytest.raises(InputError, match="no omics layer"):
        nn.predict_network(traits_only, genotypes, omics)


@pytest.mark.parametrize(
    ("layers", "equations", "named"),
    [
        (["extra"], [], "Layer 'extra' is used by no equation"),
        ([], ["y ~ 1 + tanh(omics) + weight"], "'weight' is neither a layer"),
    ],
)
def test_bad_network_is_refused(simulation, layers, equations, named):
    tables = {
        "geno": simulation.genotypes,
        "omics": simulation.omics,
        "pheno": simulation.phenotypes,
        "extra": simulation.omics_complete.add_prefix("extra_"),
    }
    used = [nn.Layer(name, tables[name]) for name in ["geno", "omics", "pheno", *layers]]
    with pytest.raises(InputError, match=named):
        nn.Network(used, ["omics ~ 1 + geno", *(equations or ["y ~ 1 + omics"])])


@pytest.mark.parametrize("probability", [90, 0, 1, -0.5, "0.9", None])
def test_probability_is_between_0_and_1(fitted, network, simulation, probability):
    for table in (
        nn.heritability,
        nn.weights,
        lambda result, **options: nn.predict_network(result, simulation.genotypes, **options),
        lambda result, **options: network.predict(result, simulation.genotypes, **options),
    ):
        with pytest.raises(InputError, match=r"probability=.* must be between 0 and 1"):
            table(fitted, probability=probability)


def test_tables_of_what_has_no_breeding_values_are_refused(simulation):
    quick = {
        "draws": 5, "tune": 5, "chains": 1, "cores": 1, "progressbar": False, "quiet": True
    }  # fmt: skip
    without_genotypes = nn.Network(nn.Layer("pheno", simulation.phenotypes), "y ~ 1")
    fitted, sampled = without_genotypes.fit(**quick), nn.sample(without_genotypes.model, **quick)
    for table in (nn.breeding_values, nn.heritability):
        with pytest.raises(InputError, match="no breeding values; its network has no genotype"):
            table(fitted)
        with pytest.raises(InputError, match=r"holds no network; it must come from Network\.fit"):
            table(sampled)
        with pytest.raises(InputError, match="is needed, not str"):
            table("run")


def test_sample_refuses_a_network(network):
    with pytest.raises(InputError, match=r"not Network; pass one .* network\.model"):
        nn.sample(network)
    with pytest.raises(InputError, match=r"needs a pymc\.Model, not None"):
        nn.sample()


@pytest.fixture(scope="module")
def herds() -> pd.DataFrame:
    """Two traits and covariates of 60 individuals; the herds are numbered."""
    rng = np.random.default_rng(7)
    ids = [f"i{k}" for k in range(1, 61)]
    frame = pd.DataFrame(rng.normal(size=(60, 2)), index=ids, columns=["weight", "fat"])
    frame["age"] = rng.integers(2, 9, 60)
    frame["sex"] = list("mf") * 30
    frame["herd"] = [4, 7, 9] * 20
    frame["weight"] += 0.5 * frame["age"] * (frame["sex"] == "m") - (frame["herd"] == 9)
    frame["fat"] += 0.3 * frame["herd"]
    return frame


@pytest.fixture(scope="module")
def herd_network(simulation, herds) -> nn.Network:
    equations = ["weight ~ 1 + sex*age + geno + C(herd)", "fat ~ 0 + herd + geno"]
    genotypes = simulation.genotypes.iloc[:60]
    return nn.Network([nn.Layer("geno", genotypes), nn.Layer("pheno", herds)], equations)


@pytest.fixture(scope="module")
def herd_fit(herd_network):
    return herd_network.fit(
        draws=40, tune=20, chains=2, cores=1, random_seed=1, progressbar=False, quiet=True
    )


def test_traits_come_in_the_order_of_the_equations(herd_fit):
    for table in (f(herd_fit) for f in (nn.breeding_values, nn.heritability, nn.marker_effects)):
        assert table["trait"].unique().tolist() == ["weight", "fat"]


def test_tables_of_a_loaded_result_are_those_of_the_fit(herd_fit, tmp_path):
    store.save(herd_fit, tmp_path)
    loaded = store.load(tmp_path)
    assert str(nn.diagnose(loaded)) == str(nn.diagnose(herd_fit))
    for table in (nn.marker_effects, nn.breeding_values, nn.heritability):
        pd.testing.assert_frame_equal(table(loaded), table(herd_fit))


def test_covariates_shift_the_prediction_by_their_effects(
    herd_fit, herd_network, herds, simulation, tmp_path
):
    """The designs are made anew from a result on disk, and are those that formulae made."""
    store.save(herd_fit, tmp_path)
    loaded = store.load(tmp_path)
    genotypes = simulation.genotypes.iloc[:60]
    average = nn.predict_network(loaded, genotypes)
    given = nn.predict_network(loaded, genotypes, covariates=herds.iloc[::-1])
    pd.testing.assert_frame_equal(given.filter(like="ebv"), average.filter(like="ebv"))

    posterior = herd_fit["posterior"].isel(draw=herd_fit["effect_draws"]["draw"].to_numpy())
    for node in herd_network.nodes:
        expected = np.zeros(60)
        for covariate in node.covariates:
            effects = posterior[f"{node.name}_{covariate.label}"].mean(("chain", "draw"))
            centred = covariate.design - covariate.design.mean(axis=0)
            expected += (centred @ effects.to_numpy())[:, 0]
        of_trait = given["trait"] == node.name
        shift = (given["prediction"] - average["prediction"])[of_trait]
        assert np.abs(expected).max() > 0.1
        np.testing.assert_allclose(shift, expected, atol=1e-8)
    np.testing.assert_array_equal(
        herd_network.predict(herd_fit, genotypes, covariates=herds)["prediction"],
        given["prediction"],
    )


def test_predict_command_takes_covariates(herd_fit, herds, files, tmp_path):
    store.save(herd_fit, tmp_path)
    genotypes = pd.read_csv(files / "genotypes.csv", index_col=0).head(9)
    genotypes.to_csv(tmp_path / "new.csv")
    herds.reset_index(names="animal").to_csv(tmp_path / "herds.csv")
    out = tmp_path / "predictions.csv"
    new = ["predict", tmp_path, "--genotypes", tmp_path / "new.csv", "--out", out]
    assert "Covariates (sex, age, herd): at their averages in the fit." in nnmm(*new).out
    without = tmp_path / "ages.csv"
    herds[["age"]].to_csv(without)
    outcome = nnmm(*new, "--covariates", without, "--overwrite")
    assert outcome.out == "" and "there is no column" in outcome.err
    outcome = nnmm(
        *new, "--covariates", tmp_path / "herds.csv", "--id-column", "animal", "--overwrite"
    )
    assert outcome.status == 0, outcome.err
    assert "herds.csv: covariates sex, age, herd." in outcome.out
    expected = nn.predict_network(herd_fit, genotypes, covariates=herds)
    pd.testing.assert_frame_equal(pd.read_csv(out), expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.drop(columns="sex"), "covariates: there is no column 'sex', a covariate of"),
        (lambda f: f.drop(index="i3"), "'sex' is missing for 1 individuals.*'i3'"),
        (lambda f: f.assign(age=f["age"].where(f["age"] < 5)), "'age' is missing for"),
        (
            lambda f: f.assign(sex=["male", *f["sex"][1:]]),
            "'male' in column 'sex', individual 'i1'",
        ),
        (lambda f: f.replace({"herd": {9: 8}}), "'8' in column 'herd', individual 'i3'.*4, 7, 9"),
        (lambda f: f.assign(age="old"), "'old' in column 'age'"),
        (lambda f: f.rename("cow-{}".format), "no individual of 'covariates'"),
    ],
)
def test_covariates_that_do_not_match_are_refused(herd_fit, herds, simulation, change, words):
    with pytest.raises(InputError, match=words):
        nn.predict_network(herd_fit, simulation.genotypes.iloc[:60], covariates=change(herds))


def test_covariates_that_cannot_be_made_again_are_refused(fitted, herd_fit, herds, simulation):
    genotypes = simulation.genotypes.iloc[:60]
    transformed = with_nodes(
        herd_fit, lambda nodes: nodes[0]["covariates"]["weight_age"].update(products=None)
    )
    with pytest.raises(InputError, match="covariate 'age' of the fit is a function of columns"):
        nn.predict_network(transformed, genotypes, covariates=herds)
    nn.predict_network(transformed, genotypes)
    with pytest.raises(InputError, match="The fit has no covariates"):
        nn.predict_network(fitted, genotypes, covariates=herds)


def test_saved_result_is_read_back_equal(fitted, run):
    assert store.load(run).identical(fitted)
    assert store.load(run / store.RESULT_FILE).identical(fitted)
    assert [path.name for path in run.iterdir()] == [store.RESULT_FILE]


def test_failed_save_leaves_the_older_result(fitted, tmp_path):
    store.save(fitted, tmp_path)
    with (
        mock.patch.object(store.shutil, "make_archive", side_effect=OSError("disk full")),
        pytest.raises(InputError, match=r"cannot be written into .*disk full.*make room"),
    ):
        store.save(fitted.isel(draw=slice(3)), tmp_path)
    assert store.load(tmp_path).identical(fitted)
    assert [path.name for path in tmp_path.iterdir()] == [store.RESULT_FILE]


@pytest.mark.parametrize("damage", [lambda b: b[:1000], lambda b: b[:5000] + bytes(50) + b[5050:]])
def test_damaged_result_is_refused(run, tmp_path, damage):
    path = tmp_path / store.RESULT_FILE
    path.write_bytes(damage((run / store.RESULT_FILE).read_bytes()))
    with pytest.raises(InputError, match="damaged"):
        store.load(tmp_path)


def test_result_that_lacks_a_part_is_refused(run, tmp_path):
    with (
        ZipFile(run / store.RESULT_FILE) as whole,
        ZipFile(tmp_path / store.RESULT_FILE, "w") as part,
    ):
        *kept, _ = [name for name in whole.namelist() if "/c/" in name]
        for name in whole.namelist():
            if name in kept or "/c/" not in name:
                part.writestr(name, whole.read(name))
        part.comment = whole.comment
    with pytest.raises(InputError, match="parts of it are lost"):
        store.load(tmp_path)

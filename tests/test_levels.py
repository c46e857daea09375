"""Levels of factors whose codes look like numbers: each keeps the name that was written for it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import nnmm_pymc as nn
from nnmm_pymc.covariate_designs import covariate_designs
from nnmm_pymc.data import Table
from nnmm_pymc.io import read_table
from nnmm_pymc.io.records import read_records

CODES = [
    ["1.1", "1.10", "2.1"],
    ["1", "01", "001"],
    ["1E2", "100", "2E1"],
    ["8400031234567890101", "8400031234567890102"],
]


def table_of(path, cells, kind):
    """Cells beside y: a file, a frame of texts, a transposed file or records."""
    y = np.random.default_rng(1).normal(size=len(cells)).round(3).astype(str)
    frame = pd.DataFrame({"code": cells, "y": y})
    frame.index = pd.Index([f"i{k}" for k in range(len(cells))], name="ID")
    if kind == "frame":
        return Table(frame)
    (frame.T if kind == "transposed" else frame).to_csv(path)
    if kind == "records":
        return read_records(path, "ID")
    return read_table(path, transposed=kind == "transposed")


@pytest.mark.parametrize("kind", ["file", "frame", "transposed", "records"])
@pytest.mark.parametrize(
    ("codes", "names"),
    [
        *((codes, codes) for codes in CODES),
        (["12.0", "7.0"], ["12", "7"]),  # passed through a column of floats
        (["TRUE", "FALSE"], ["1", "0"]),
        (["h", "01", "b"], ["h", "01", "b"]),
    ],
)
def test_levels_are_called_as_they_were_written(tmp_path, kind, codes, names):
    table = table_of(tmp_path / "t.csv", [*codes, "NA", codes[0]], kind)
    for again in (table, replace(table, source="again")):
        assert again.levels("code").tolist() == [*names, None, names[0]]
        assert (again.frame["code"].dtype == float) is ("h" not in codes)


def test_whole_numbers_of_a_frame_are_named_exactly():
    frame = pd.DataFrame({"sire": [2**60 + 1, 2**60 + 2, 3], "herd": [1.0, np.nan, 2.5]})
    table = Table(frame)
    assert table.levels("sire").tolist() == [str(2**60 + 1), str(2**60 + 2), "3"]
    assert table.levels("herd").tolist() == ["1", None, "2.5"]


@pytest.mark.parametrize("kind", ["file", "records"])
@pytest.mark.parametrize("codes", CODES)
def test_codes_of_one_number_are_levels_of_their_own(tmp_path, codes, kind):
    table = table_of(tmp_path / "t.csv", codes * 5, kind)
    individual = "ID" if kind == "records" else None
    layer = nn.Layer("pheno", table, individual=individual)
    random, fixed = (nn.Network(layer, f"y ~ 1 + {t}").nodes[0] for t in ("(1|code)", "C(code)"))
    (edge,), (covariate,) = random.random, fixed.covariates
    assert [edge.levels[k] for k in edge.index] == codes * 5
    by_number = sorted(codes, key=lambda code: (float(code), code))
    assert list(covariate.factors["code"]) == by_number
    wanted = [[code == other for other in by_number[1:]] for code in codes * 5]
    assert covariate.design.astype(bool).tolist() == wanted
    with pytest.raises(nn.InputError, match="stands as a factor and as a number"):
        nn.Network(layer, "y ~ 1 + code + C(code)")


def test_dams_are_matched_by_the_name_in_the_file(tmp_path):
    rows = [(d, "0", "0") for d in ("001", "1", "2")]
    pedigree = nn.read_pedigree(
        pd.DataFrame(
            [*rows, *((f"i{k}", "0", "001") for k in range(6))], columns=["id", "pa", "ma"]
        ),
        columns=("id", "pa", "ma"),
    )
    table = table_of(tmp_path / "t.csv", ["001", "1"] * 3, "file")
    layers = [nn.Layer("pheno", table), nn.Layer("ped", pedigree)]
    edge = nn.Network(layers, "y ~ 1 + ped(code)").nodes[0].random[0]
    assert [edge.levels[k] for k in edge.index] == ["001", "1"] * 3


def test_predictions_know_levels_by_the_same_names(tmp_path):
    table = table_of(tmp_path / "t.csv", CODES[0] * 8, "file")
    network = nn.Network(nn.Layer("pheno", table), "y ~ 1 + C(code) + (1|code)")
    result = network.fit(
        draws=4, tune=4, chains=1, cores=1, random_seed=1, progressbar=False, quiet=True
    )
    new = table_of(tmp_path / "new.csv", ["1.10", "1.1"], "file")
    designs = covariate_designs(result, new, {}, new.individuals)
    assert designs["y_C(code)"].tolist() == [[1, 0], [0, 0]]
    assert designs["y_1|code"].tolist() == [[1, 1], [0, 1]]


def test_a_name_between_backticks_is_a_factor_too(tmp_path):
    path = tmp_path / "t.csv"
    table_of(path, CODES[0] * 8, "file")
    path.write_text(path.read_text().replace("code", "a code", 1))
    table = read_table(path)
    node = nn.Network(nn.Layer("pheno", table), "y ~ 1 + C(`a code`)").nodes[0]
    assert node.covariates[0].factors == {"a code": ["1.1", "1.10", "2.1"]}


def test_a_code_that_is_typed_otherwise_is_no_new_level(tmp_path):
    table = table_of(tmp_path / "t.csv", ["01", "02"] * 8, "file")
    network = nn.Network(nn.Layer("pheno", table), "y ~ 1 + (1|code)")
    result = network.fit(
        draws=4, tune=4, chains=1, cores=1, random_seed=1, progressbar=False, quiet=True
    )
    new = pd.DataFrame({"code": [2, 1]}, index=["a", "b"])
    with pytest.raises(nn.InputError, match=r"level '2' in column 'code' is '02' in the fit"):
        nn.predict_network(result, covariates=new)
    nn.predict_network(result, covariates=new.assign(code=["07", "01"]))


@pytest.mark.parametrize("marks", [["0", "+", "++"], ["+", "-", "0"], ["1", "1/2", "2/2"]])
def test_marks_with_a_meaning_are_levels(marks):
    assert Table(pd.DataFrame({"score": marks * 3})).levels("score").tolist() == marks * 3


def test_combinations_are_told_apart_where_names_hold_a_colon(tmp_path):
    frame = pd.DataFrame({"h": ["a", "a:b", "a\\"] * 4, "l": ["b:c", "c", "b:c"] * 4})
    frame["y"] = np.random.default_rng(1).normal(size=12)
    node = nn.Network(nn.Layer("pheno", frame), "y ~ 1 + (1|h:l)").nodes[0]
    assert sorted(node.random[0].levels) == ["a:b\\:c", "a\\:b:c", "a\\\\:b\\:c"]
    single = nn.Network(nn.Layer("pheno", frame), "y ~ 1 + (1|h)").nodes[0]
    assert sorted(single.random[0].levels) == ["a", "a:b", "a\\"]


@pytest.mark.parametrize("cells", [["12 %", "13 %", "40.5 %"], ["7kg", "8kg", "9kg"]])
def test_numbers_with_a_unit_are_no_levels_unless_it_is_said(cells):
    layer = nn.Layer("pheno", pd.DataFrame({"x": cells * 3, "y": np.arange(9.0)}))
    with pytest.raises(nn.InputError, match=r"'x', such as '.*', are no numbers because of what"):
        nn.Network(layer, "y ~ 1 + x")
    assert nn.Network(layer, "y ~ 1 + C(x)").nodes[0].covariates[0].design.shape == (9, 2)

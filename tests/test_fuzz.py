"""Spoilt files: a few hundred from the fuzzer, what each known fault says, and no code is run.

`benchmarks/fuzz.py` judges many more.
"""

import gzip
import json
import pickle
import zipfile

import fuzz_oracle
import numpy as np
import pandas as pd
import pytest
from fuzz_inputs import spoilt
from fuzz_oracle import Fault, judge
from fuzz_samples import SAMPLES, tree

import nnmm_pymc as nn
from nnmm_pymc.data import Table, align
from nnmm_pymc.io import read_connections, read_genotypes, read_relationship, read_table

NAN = np.nan

# --- the fuzzer -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SAMPLES)
def test_spoilt_files_are_refused_clearly_or_read_rightly(kind, tmp_path):
    outcomes = [judge(spoilt(seed, kind), tmp_path) for seed in range(80)]
    assert {"read", "refused"} == set(outcomes)


WRONG = {
    "a value": lambda path, **_: Table(read_table(path).frame.replace({"y": 1.5}, 1.6), "t"),
    "an ID": lambda path, **_: Table(read_table(path).frame.rename({"b": "B"}), "t"),
    "a lost row": lambda path, **_: Table(read_table(path).frame.iloc[:1], "t"),
    "a lost column": lambda path, **_: Table(read_table(path).frame[["y"]], "t"),
    "a missing cell": lambda path, **_: Table(read_table(path).frame.fillna(0), "t"),
    "a crash": lambda path, **_: path.no_such_thing,
}


@pytest.mark.parametrize("what", WRONG)
def test_the_judge_notices(what, tmp_path, monkeypatch):
    case = fuzz_oracle.Case("table", {"t.csv": b"ID,y,z\na,1.5,NA\nb,2.5,x\n"})
    assert judge(case, tmp_path) == "read"
    monkeypatch.setitem(fuzz_oracle.READERS, "table", lambda case, path: WRONG[what](path))
    with pytest.raises(Fault):
        judge(case, tmp_path)


def test_the_judge_notices_an_unclear_refusal(tmp_path, monkeypatch):
    case = fuzz_oracle.Case("table", {"t.csv": b""})
    for message in ("t.csv: no.", "line 1 is wrong: correct it."):

        def refuse(case, path, message=message):
            raise nn.InputError(message)

        monkeypatch.setitem(fuzz_oracle.READERS, "table", refuse)
        with pytest.raises(Fault, match=r"unclear|no file is named"):
            judge(case, tmp_path)


# --- what each fault says -------------------------------------------------------------------------

GOOD = "ID,y,z\na,1.5,2\nb,2.5,3\n"
READ = {"y": [1.5, 2.5], "z": [2, 3]}
TEXT = ": save the data as a plain text table in UTF-8, or check that this is the right file."
WIDTHS = (
    ": there must be IDs and at least one more column, all named in the header and separated "
    "alike; write decimal points, not commas, and no separator at the end of a line."
)
FIELDS = ": separate it like the other lines, and leave missing cells empty or NA."
CELL = (
    " is not a finite number: correct the cell (with a decimal point, and nothing between "
    "thousands), or leave it empty if it is missing."
)
HEADER = ": put a header above it, or, if it is the header, call its first field ID."
QUOTES = (
    ": a quotation mark is not closed, or not around a whole field: put pairs around whole fields, "
    "or take them out."
)
TABLES = {
    "windows line ends": (GOOD.replace("\n", "\r\n"), READ),
    "byte-order mark": ("\ufeff" + GOOD, READ),
    "blanks": ("ID, y ,z\n a ,1.5 , 2\n\nb, 2.5,3", READ),
    "gzip": (gzip.compress(GOOD.encode()), READ),
    "truncated line": ("ID,y,z\na,1.5,2\nb,2.", "line 3 has 2 fields where 3 belong" + FIELDS),
    "truncated gzip": (
        gzip.compress(GOOD.encode())[:-9],
        "the file cannot be read to its end (Compressed file ended before the end-of-stream marker "
        "was reached): check it, or copy it again.",
    ),
    "binary": (b"\x89PNG\r\n\x1a\n", "line 1 is not UTF-8 text (byte 0x89 at position 1)" + TEXT),
    "NUL": (
        "ID,y\na,1\0\n",
        "line 2 is not UTF-8 text (it has a NUL byte, as UTF-16 and binary files have)" + TEXT,
    ),
    "latin-1": (
        "ID,y\nJosé,1\n".encode("latin-1"),
        "line 2 is not UTF-8 text (byte 0xe9 at position 4)" + TEXT,
    ),
    "UTF-16": (
        GOOD.encode("utf-16"),
        "line 1 is not UTF-8 text (it has a NUL byte, as UTF-16 and binary files have)" + TEXT,
    ),
    "old Mac": (
        GOOD.replace("\n", "\r"),
        "line 1 is not UTF-8 text (it has a carriage return inside, as files of an old Mac have)"
        + TEXT,
    ),
    "control": ("ID,y\na,1\x1a\n", "line 2 is not UTF-8 text (it has a control character)" + TEXT),
    "joined files": (
        "ID,y\na,1\n\ufeffID,y\n",
        "line 3 is not UTF-8 text (it has a byte-order mark inside)" + TEXT,
    ),
    "mixed separators": (
        "ID,y,z\na;1;2\nb;3;4\n",
        "the header has 3 fields and line 2 has 1" + WIDTHS,
    ),
    "a separator changes": (
        "ID,y,z\na,1,2\nb;3;4\n",
        "line 3 has 1 fields where 3 belong" + FIELDS,
    ),
    "decimal commas": ("ID,y\na,1,5\n", "the header has 2 fields and line 2 has 3" + WIDTHS),
    "decimal commas between semicolons": (
        "ID;y\na;1,5\nb;2,5\n",
        "'1,5' in column 'y', individual 'a' (line 2)" + CELL,
    ),
    "decimal commas between blanks": (
        "ID y\na 1,5\nb 2,5\n",
        "'1,5' in column 'y', individual 'a' (line 2)" + CELL,
    ),
    "thousands": (
        'ID,y\na,"1,500"\nb,"2,500"\n',
        "'1,500' in column 'y', individual 'a' (line 2)" + CELL,
    ),
    "name twice": (
        "ID,y,y\na,1,2\n",
        "column name 'y' occurs twice (columns 2 and 3): make it unique and check that the first "
        "line is a header.",
    ),
    "blank name": ("ID,,y\na,1,2\n", "column 2 has no column name: give it one."),
    "no header": ("a,1.5\nb,2.5\n", "the first line looks like data (1.5)" + HEADER),
    "no header of truth values": (
        "a,TRUE\nb,FALSE\n",
        "the first line looks like data (TRUE)" + HEADER,
    ),
    "numbers as names": ("ID,1,2\na,1.5,2\nb,2.5,3\n", {"1": [1.5, 2.5], "2": [2, 3]}),
    "what Excel puts above": (
        "sep=;\nID;y\na;1\n",
        "line 2 looks like the header, but it is not the first: take out what stands above it.",
    ),
    "ID twice": (
        "ID,y\na,1\nb,2\n a,3\n",
        "individual ID 'a' occurs twice (lines 2 and 4): make it unique.",
    ),
    "ID missing": ("ID,y\nNA,1\n", "line 2 has no individual ID, but 'NA': give it one."),
    "ragged": ("ID,y,z\na,1,2\nb,1\n", "line 3 has 2 fields where 3 belong" + FIELDS),
    "quote not closed": ('ID,y\n"a,1\nb,2\n', "line 2" + QUOTES),
    "quote inside": ('ID,y\na,5"\n', "line 2" + QUOTES),
    "quotes around all": ('"ID","y"\n"a, ""x""","1.5"\n', {"y": [1.5]}),
    "separator at the end": (
        "cow;y\na;1.5;\nb;2.5;\n",
        "every line but the header ends in a separator, so that names do not match their columns: "
        "take it out.",
    ),
    "two tabs": (
        "ID y z\na\t1\t\t2\n",
        "line 2 has two tabs in a row or one at its end: if a cell is missing write NA, if none is "
        "take the tab out.",
    ),
    "empty": (" \n\n", "the file is empty: check that this is the right file."),
    "header only": ("ID,y\n", "there is a header but no data: check that this is the right file."),
    "too large": ("ID,y\na,1\nb,1e999\n", "'1e999' in column 'y', individual 'b' (line 3)" + CELL),
    "infinite": (
        "ID,y\na,1\nb,-Infinity\n",
        "'-Infinity' in column 'y', individual 'b' (line 3)" + CELL,
    ),
    "underscore": ("ID,y\na,1\nb,1_000\n", "'1_000' in column 'y', individual 'b' (line 3)" + CELL),
    "nan as others spell it": ("ID,y\na,1\nb,NAN\nc,-nan\n", {"y": [1, NAN, NAN]}),
    "scales": (
        "ID,y,z\na,1e-12,1e12\nb,-1e-12,1e300\n",
        {"y": [1e-12, -1e-12], "z": [1e12, 1e300]},
    ),
    "one individual": ("ID,y\na,1\n", {"y": [1]}),
    "constant": ("ID,y\na,1\nb,1\n", {"y": [1, 1]}),
    "all missing": ("ID,y\na,NA\nb,\n", {"y": [NAN, NAN]}),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables(name, tmp_path):
    content, expected = TABLES[name]
    path = tmp_path / "t.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    if isinstance(expected, str):
        with pytest.raises(nn.InputError) as error:
            read_table(path)
        assert str(error.value) == f"t.txt: {expected}"
    else:
        table = read_table(path)
        assert list(table.frame.columns) == list(expected)
        np.testing.assert_array_equal(table.numeric(list(expected)).T, list(expected.values()))


COUNT = ": give the count of one allele, and name codes of missing calls in missing_values."
CALLS = {
    "negative": (
        "ID,m\na,0\nb,-1\n",
        "genotype -1 of marker 'm', individual 'b' (line 3) is outside 0..2",
    ),
    "too many": (
        "ID,m\na,0\nb,3\n",
        "genotype 3 of marker 'm', individual 'b' (line 3) is outside 0..2",
    ),
    "decimal comma": (
        "ID;m\na;0,5\n",
        "genotype 0,5 of marker 'm', individual 'a' (line 2) is not a number",
    ),
    "in quotes": (
        'ID,m\na,"0,1"\n',
        "genotype 0,1 of marker 'm', individual 'a' (line 2) is not a number",
    ),
    "pair": (
        "ID,m\na,0_1\n",
        "genotype 0_1 of marker 'm', individual 'a' (line 2) is not a number",
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_dosages(name, tmp_path):
    path = tmp_path / "g.txt"
    path.write_text(CALLS[name][0])
    with pytest.raises(nn.InputError) as error:
        read_genotypes(path)
    assert str(error.value) == f"g.txt: {CALLS[name][1]}{COUNT}"


OTHERS = {
    "edge": (read_connections, "omic,marker\ng,\n", "line 2 must have two fields"),
    "raw": (read_genotypes, "FID IID SEX m\nf 1 1 2\ng 1 2 0\n", "columns are PLINK's FID and IID"),
    "one marker, constant": (
        read_genotypes,
        "ID,m\na,1\n",
        "no marker is left of 1: 1 no variance",
    ),
    "no header": (read_genotypes, "i1,0,2\ni2,1,1\n", "the first line looks like data (0, 2)"),
    "incomplete": (
        read_relationship,
        "ID,a,b\na,1,NA\nb,0,1\n",
        "row 'a' has a missing value; give",
    ),
    "not symmetric": (
        read_relationship,
        "ID,a,b\na,1,0.5\nb,0,1\n",
        "is not symmetric at 'a', 'b'",
    ),
    "zero": (read_relationship, "ID,a\na,0\n", "the largest relationship is 0; bring the matrix"),
    "too large": (
        read_relationship,
        "ID,a\na,1e300\n",
        "the largest relationship is 1e+300; bring",
    ),
    "words": (read_relationship, "ID,a\na,x\n", "'x' in column 'a', individual 'a' (line 2)"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_files(name, tmp_path):
    read, content, expected = OTHERS[name]
    path = tmp_path / "o.txt"
    path.write_text(content)
    with pytest.raises(nn.InputError) as error:
        read(path)
    assert str(error.value).startswith("o.txt: ") and expected in str(error.value)


BED = {
    "wrong mode": (
        "x.bed",
        lambda raw: raw[:2] + b"\0" + raw[3:],
        "ordered by individual: convert",
    ),
    "wrong size": ("x.bed", lambda raw: raw[:-1], "truncated or the three do not belong together"),
    "one individual too few": (
        "x.fam",
        lambda raw: raw[: raw.rindex(b"Family5")],
        "calls of more individuals than the 5",
    ),
    "one individual too many": (
        "x.fam",
        lambda raw: raw + b"F z 0 0 1 -9\n",
        "as the padding of a .bed",
    ),
    "position": (
        "x.bim",
        lambda raw: raw.replace(b"300", b"3e2"),
        "line 4 has the position '3e2': give",
    ),
    "fields": (
        "x.bim",
        lambda raw: raw.replace(b"\t300", b""),
        "line 4 has 5 fields where 6 belong",
    ),
}


@pytest.mark.parametrize("name", BED)
def test_bed(name, tmp_path):
    file, change, expected = BED[name]
    n = 7 if name.endswith("many") else 6
    fam = "".join(f"Family{k} i{k} 0 0 1 -9\n" for k in range(6))
    bim = "".join(f"1\trs{j}\t0\t{100 * j}\tA\tG\n" for j in range(12))
    calls = bytes([0b11100011, 0b1111 if n == 7 else 0b1110] * 12)
    content = {"x.bed": b"\x6c\x1b\x01" + calls, "x.bim": bim.encode(), "x.fam": fam.encode()}
    for part, raw in content.items():
        (tmp_path / part).write_bytes(raw)
    assert read_genotypes(tmp_path / "x.bed").n == 6
    changed = change(content[file])
    assert changed != content[file]
    (tmp_path / file).write_bytes(changed)
    with pytest.raises(nn.InputError, match=r"^x\.(bed|bim|fam): ") as error:
        read_genotypes(tmp_path / "x.bed")
    assert expected in str(error.value)


def test_names_stay_as_they_are_written(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("line,y,ID\n1,1,007\n2,2,1e5\n3,3,7\n4,4,True\n")
    assert read_table(path, id_column="ID").individuals.tolist() == ["007", "1e5", "7", "True"]
    path.write_text("trait,a,b\nherd,1,003\ny,2.5,7\nsex,m,f\n")
    table = read_table(path, transposed=True)
    path.write_text("ID,herd\na,1\nb,003\nc,x\nd,x\ne,x\n")
    assert read_table(path).frame["herd"].tolist() == ["1", "003", "x", "x", "x"]
    assert table.frame["sex"].tolist() == ["m", "f"]


def test_a_million_columns(tmp_path):
    path, k = tmp_path / "wide.csv", 10**6
    header = "ID," + ",".join(map(str, range(k)))
    path.write_text(f"{header}\na{',0' * k}\nb{',2' * k}\n")
    genotypes = read_genotypes(path)
    assert (genotypes.n, genotypes.p) == (2, k) and (genotypes.dosages[:, 1] == 2).all()
    path.write_text(f"{header}\na{',0' * k}\nb{',2' * (k - 1)}\n")
    with pytest.raises(nn.InputError, match="line 3 has 1000000 fields where 1000001 belong"):
        read_table(path)


# --- data in memory -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            pd.DataFrame({"a": ["0_1", "2"]}, ["i", "j"]),
            "genotype 0_1 of marker 'a', individual 'i'",
        ),
        (np.array([[0j, 1], [2, 1]]), "genotype 0j of marker 'm1'"),
        (np.array([["0", "A/T"], ["1", "2"]]), "genotype A/T of marker 'm2', individual '1'"),
        (np.array([[0, np.inf], [1, 2]]), "genotype inf of marker 'm2'"),
        (pd.DataFrame({"a": pd.to_datetime(["2020-01-01"])}), "genotype 2020-01-01 00:00:00 of"),
    ],
)
def test_arrays_and_frames_that_are_no_dosages(source, message):
    with pytest.raises(nn.InputError) as error:
        read_genotypes(source)
    assert message in str(error.value)


def test_missing_calls_of_every_kind_in_memory():
    expected = [[0, -1], [2, 1]]
    for cell in (None, NAN, pd.NA, "NA", "", "-9"):
        frame = pd.DataFrame({"a": [0, cell], "b": [2, 1]}, dtype=object)
        assert read_genotypes(frame, drop_constant=False).dosages.tolist() == expected
    masked = np.ma.array([[0, 2], [7, 1]], mask=[[0, 0], [1, 0]])
    assert read_genotypes(masked, drop_constant=False).dosages.tolist() == expected


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.array(1.0), "is a square of numbers, but this has shape ()"),
        (np.eye(2, dtype=complex), "holds complex128"),
        (np.array([["a"]]), "a square of numbers"),
        (np.empty((0, 0)), "the largest relationship is 0"),
        (np.eye(2)[:1], "has as many columns as individuals"),
    ],
)
def test_arrays_that_are_no_relationship(matrix, message):
    with pytest.raises(nn.InputError) as error:
        read_relationship(matrix)
    assert message in str(error.value)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_relationships_of_any_scale(scale):
    matrix = np.array([[1.0, 0.5], [0.5, 1.0]]) * scale
    read = read_relationship(matrix)
    roots = read.dosages - read.mean[:, None]
    np.testing.assert_allclose(roots.T @ roots, matrix, rtol=1e-5)


def test_counts_from_zero_and_one_are_not_matched():
    calls = read_genotypes(pd.DataFrame({"a": [0, 1, 2]}))
    table = Table(pd.DataFrame({"y": [1.0, 2, 3]}, ["3", "1", "2"]), "y.csv")
    with pytest.raises(nn.InputError, match=r"numbered from 0, those of 'y\.csv' from 1"):
        align({"geno": calls, "pheno": table})


def network_of(values, calls=(0, 1, 2)):
    n = len(values)
    geno = pd.DataFrame({"m": calls[:n]}, list("abc")[:n])
    pheno = pd.DataFrame({"y": values}, geno.index)
    layers = [nn.Layer("geno", read_genotypes(geno, drop_constant=False)), nn.Layer("pheno", pheno)]
    return nn.Network(layers, ["pheno ~ 1 + geno"])


@pytest.mark.parametrize("values", [[1.0], [1e-12, -1e-12, 2e-12], [1e12, -1e12, 2e12]])
def test_networks_of_any_scale_keep_every_value(values):
    network = network_of(values)
    assert network.individuals.tolist() == list("abc")[: len(values)]
    assert network.nodes[0].observed.ravel().tolist() == values


@pytest.mark.parametrize(
    ("values", "message"),
    [([1.0, 1, 1], "'y' has no variance"), ([NAN] * 3, "No individual of the model has a value")],
)
def test_networks_without_anything_to_explain_are_refused(values, message):
    with pytest.raises(nn.InputError, match=message):
        network_of(values)


# --- no code from a file --------------------------------------------------------------------------


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def pickled_zarr(path, bomb, dtype, filters, compressor=None):
    """A Zarr file whose only chunk is a pickle."""
    array = {
        "zarr_format": 2,
        "shape": [1],
        "chunks": [1],
        "dtype": dtype,
        "fill_value": None,
        "order": "C",
        "filters": filters,
        "compressor": compressor,
    }
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(".zgroup", json.dumps({"zarr_format": 2}))
        archive.writestr("x/.zarray", json.dumps(array))
        archive.writestr("x/.zattrs", json.dumps({"_ARRAY_DIMENSIONS": ["draw"]}))
        archive.writestr("x/0", pickle.dumps(bomb))


PICKLE = {"id": "pickle", "protocol": 4}


@pytest.mark.parametrize(
    ("dtype", "filters", "compressor"),
    [
        ("|O", [PICKLE], None),
        ("<i4", [PICKLE], None),
        ("<i4", None, PICKLE),
        ("|O", [{"id": "vlen-utf8"}, PICKLE], None),
        ("|O", [{"id": "vlen-utf8"}], PICKLE),
    ],
)
def test_a_result_runs_no_code(tmp_path, dtype, filters, compressor):
    target = tmp_path / "run.txt"
    bomb = Bomb(target)
    pickle.loads(pickle.dumps(bomb)).close()
    assert target.exists()  # it would work
    target.unlink()
    pickled_zarr(tmp_path / "result.zarr.zip", bomb, dtype, filters, compressor)
    with pytest.raises(nn.InputError, match="the result cannot be read"):
        nn.load(tmp_path)
    assert not target.exists()


def test_a_result_holds_no_pickles(tmp_path):
    file = nn.save(tree(), tmp_path)
    with zipfile.ZipFile(file) as archive:
        for name in archive.namelist():
            assert b"pickle" not in archive.read(name)
    assert nn.load(file).identical(tree())


@pytest.mark.parametrize(
    "formula",
    [
        "y ~ exec(x)",
        "y ~ np.save(x)",
        "y ~ __import__('os')",
        "y ~ scale(x)(z)",
        "y ~ {exec('1')}",
        "y ~ x.__class__",
        "y ~ tanh(x)[0]",
        "y ~ `x`",
        "y ~ ｅval(x)",  # noqa: RUF001 (Python reads it as eval)
        "y ~ root_ratio(a, b)(c)",
    ],
)
def test_a_model_runs_no_code(tmp_path, formula):
    path = tmp_path / "m.toml"
    path.write_text(f'name = "m"\nsummary = ""\n[[equation]]\nformula = "{formula}"\n', "utf-8")
    with pytest.raises(
        nn.InputError, match=r"m\.toml: key 'equation\[1\]\.formula': .* not allowed"
    ):
        nn.load_model(path)


@pytest.mark.parametrize("prior", ["Model", "os", "__import__", "sample", "Distribution.dist"])
def test_a_prior_in_a_model_is_a_distribution(tmp_path, prior):
    path = tmp_path / "m.toml"
    path.write_text(
        'name = "m"\nsummary = ""\n[[equation]]\nformula = "y ~ x"\n'
        f'priors.x = {{ prior = "{prior}" }}\n'
    )
    with pytest.raises(nn.InputError, match=rf"priors\.x\.prior': '{prior}' is not"):
        nn.load_model(path)

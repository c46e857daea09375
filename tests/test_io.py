"""Reading genotypes and tables: round trips, real files, and one test for every complaint."""

import gzip
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bed_reader import to_bed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from nnmm_pymc.data import MISSING, align
from nnmm_pymc.errors import InputError
from nnmm_pymc.io import read_genotypes, read_table
from nnmm_pymc.io.pedigrees import read_pedigree

NAN = np.nan
DATA = Path(__file__).parents[2] / "shared" / "data"
with_data = pytest.mark.skipif(not DATA.is_dir(), reason="the folder ../shared/data is absent")
reuse_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture
def write(tmp_path):
    """Function that writes text or bytes to a file and returns its path."""

    def write(content, name="geno.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def polymorphic(values):
    """The values (individual, marker) after two individuals who differ at every marker."""
    p = values.shape[1]
    return np.vstack([np.zeros((1, p)), np.full((1, p), 2), values])


def as_text(values, sep=",", newline="\n"):
    """Values (individual, marker) as a text table with missing cells written NA."""
    lines = [["ID", *(f"snp{j + 1}" for j in range(values.shape[1]))]]
    lines += [[f"i{i + 1}", *("NA" if np.isnan(v) else f"{v:.17g}" for v in row)]
              for i, row in enumerate(values)]  # fmt: skip
    return newline.join(sep.join(line) for line in lines) + newline


def assert_holds(genotypes, values):
    """Genotypes of `as_text(values)` or of the array itself hold these values."""
    hard = (np.isnan(values) | (values == np.rint(values))).all()
    assert genotypes.dosages.dtype == (np.int8 if hard else np.float32)
    assert genotypes.dosages.flags.c_contiguous
    mean = np.nanmean(values, axis=0)
    np.testing.assert_allclose(genotypes.mean, mean, rtol=1e-6)
    filled = np.where(np.isnan(values), MISSING if hard else mean, values)
    np.testing.assert_allclose(genotypes.dosages, filled.T, rtol=1e-6)


HARD_CALLS = arrays(
    np.float64,
    array_shapes(min_dims=2, max_dims=2, max_side=7),
    elements=st.sampled_from([0, 1, 2, NAN]),
)
DOSAGES = arrays(
    np.float64,
    array_shapes(min_dims=2, max_dims=2, max_side=7),
    elements=st.floats(0, 2, width=32) | st.just(NAN),
)


# --- genotypes: round trips -----------------------------------------------------------------------


@reuse_folder
@given(HARD_CALLS | DOSAGES, st.sampled_from([",", "\t", ";", " ", "  "]), st.booleans())
def test_text_round_trip(write, values, sep, zipped):
    values = polymorphic(values)
    content = as_text(values, sep).encode()
    path = write(gzip.compress(content) if zipped else content)
    genotypes = read_genotypes(path)
    assert_holds(genotypes, values)
    assert genotypes.individuals.tolist() == [f"i{i + 1}" for i in range(len(values))]
    assert genotypes.markers.tolist() == [f"snp{j + 1}" for j in range(values.shape[1])]
    assert genotypes.source == "geno.csv"


@reuse_folder
@given(HARD_CALLS | DOSAGES)
def test_frame_array_and_transposed_agree(write, values):
    values = polymorphic(values)
    genotypes = read_genotypes(values)
    assert_holds(genotypes, values)
    assert_holds(read_genotypes(values.T, transposed=True), values)
    assert genotypes.individuals[0] == "1" and genotypes.markers[0] == "m1"
    frame = pd.DataFrame(values).add_prefix("snp")
    assert_holds(read_genotypes(frame), values)
    assert_holds(read_genotypes(frame.T, transposed=True), values)
    assert_holds(read_genotypes(frame.astype(object)), values)
    text = write(as_text(values.T), "transposed.csv")
    genotypes = read_genotypes(text, transposed=True)
    assert_holds(genotypes, values)
    assert genotypes.markers[0] == "i1" and genotypes.individuals[0] == "snp1"


@reuse_folder
@given(HARD_CALLS)
def test_bed_round_trip(tmp_path, values):
    values = polymorphic(values)
    n, p = values.shape
    to_bed(
        tmp_path / "cohort.bed",
        values,
        properties={
            "iid": [f"i{i}" for i in range(n)],
            "sid": [f"rs{j}" for j in range(p)],
            "chromosome": ["7"] * p,
            "bp_position": list(range(100, 100 + p)),
            "allele_1": ["G"] * p,
            "allele_2": ["T"] * p,
        },
    )
    genotypes = read_genotypes(tmp_path / "cohort.bed")
    assert_holds(genotypes, values)
    assert genotypes.individuals.tolist() == [f"i{i}" for i in range(n)]
    assert genotypes.info.index.equals(genotypes.markers)
    assert genotypes.info.iloc[-1].to_dict() == {
        "chromosome": "7", "position": 99 + p, "effect_allele": "G", "other_allele": "T",
    }  # fmt: skip


def test_more_rows_than_one_block(write):
    values = polymorphic(np.random.default_rng(2).integers(0, 3, (700, 5)).astype(float))
    values[600, 2] = 0.25
    assert_holds(read_genotypes(write(as_text(values))), values)


@pytest.mark.parametrize(
    "content",
    [
        "\ufeffID,a,b\r\ni1,0,NA\r\n\r\ni2,1,2\r\ni3,2,0\r\n",  # BOM, Windows, blank line
        '"ID","a","b"\n"i1",0,NA\n"i2",1,2\n"i3",2,0',  # R, no line end
        '\ufeff"a","b"\n"i1",0,NA\n"i2",1,2\n"i3",2,0\n',  # R with row names
        ",a,b\ni1,0.0,\ni2,1.0,2.0\ni3,2.0,0.0\n",  # pandas
        "ID, a, b\ni1, 0, .\ni2, 1, 2\ni3, 2, 0\n",
        "ID\ta\tb\ni1\t0\t-9\ni2\t1\t2\ni3\t2\t0\n",
        'ID  a b\n i1 0  NA\n"i2" 1 2\ni3\t2 0\n',
    ],
)
def test_dialects(write, content):
    genotypes = read_genotypes(write(content))
    assert genotypes.individuals.tolist() == ["i1", "i2", "i3"]
    assert genotypes.markers.tolist() == ["a", "b"]
    assert genotypes.dosages.tolist() == [[0, 1, 2], [-1, 2, 0]]


def test_quoted_names_may_hold_the_separator(write):
    genotypes = read_genotypes(write('ID,"a,1",b\n"x,y",0,2\nz,1,0\n'))
    assert genotypes.individuals.tolist() == ["x,y", "z"]
    assert genotypes.markers.tolist() == ["a,1", "b"]


def test_spaces_in_names_do_not_make_a_white_space_table(write):
    genotypes = read_genotypes(write("my ID,snp one of many,b\nx,0,2\nz,1,0\n"))
    assert genotypes.markers.tolist() == ["snp one of many", "b"]


@pytest.mark.parametrize("cell", ["9", "-1", "0"])
def test_missing_values_can_be_named(write, cell):
    text = f"ID,a,b\ni1,1,{cell}\ni2,2,1\ni3,1.5,2\n"
    genotypes = read_genotypes(write(text), missing_values=["NA", cell])
    np.testing.assert_allclose(genotypes.dosages, [[1, 2, 1.5], [1.5, 1, 2]])
    text = text.replace("1.5", "1")
    assert read_genotypes(write(text), missing_values=[cell]).dosages[1].tolist() == [-1, 1, 2]
    assert read_genotypes(write(text), missing_values=cell).dosages[1].tolist() == [-1, 1, 2]
    frame = pd.DataFrame({"b": [float(cell), 1, 2]})
    assert read_genotypes(frame, missing_values=[cell]).dosages.tolist() == [[-1, 1, 2]]


def test_nullable_and_text_frames():
    frame = pd.DataFrame({"a": pd.array([0, None, 2], dtype="Int8"), "b": ["1", "NA", "0"]})
    assert read_genotypes(frame).dosages.tolist() == [[0, -1, 2], [1, -1, 0]]


def test_genotypes_pass_through_and_can_be_filtered():
    frame = pd.DataFrame({"a": [0, 1, 2, 0], "flat": 1, "rare": [0, 0, 0, 1]}, index=list("wxyz"))
    genotypes = read_genotypes(frame)
    assert read_genotypes(genotypes) is genotypes
    filtered = read_genotypes(genotypes, maf=0.2)
    assert filtered.markers.tolist() == ["a"]
    assert filtered.report.dropped.index.tolist() == ["flat", "rare"]
    assert filtered.report.n_markers_read == 3
    real = read_genotypes(pd.DataFrame({"a": [0, 0.5, NAN]}))
    with pytest.raises(InputError, match="give maf and max_missing when the data are first read"):
        read_genotypes(real, max_missing=0.1)


# --- genotypes: complaints ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("ID,snp1,snp3\ni1,0,1\n\ni5,1,7\n",
         r"geno\.csv: genotype 7 of marker 'snp3', individual 'i5' \(line 4\) is outside 0\.\.2"),
        ("ID,a\ni1,0\ni2,-1\n", r"genotype -1 of marker 'a', individual 'i2' \(line 3\) is out"),
        ("ID,a\ni1,0\ni2,2.01\n", r"genotype 2\.01 of"),
        ("ID,a\ni1,0\ni2,A/T\n", r"genotype A/T of marker 'a', individual 'i2' \(line 3\) is not"),
        ("ID,a\ni1,0\ni2,0_1\n", r"genotype 0_1 of .* is not a number"),
        ("ID,a\ni1,0\ni2,inf\n", r"genotype inf of .* is not a number"),
        ("ID,a\ni1,0\ni2,1e400\n", r"genotype 1e400 of .* is not a number"),
        ("ID,a,b\ni1,0,1\ni2,0\n", r"geno\.csv: line 3 has 2 fields where 3 belong"),
        ("ID,a,b\ni1,0,1\ni2,0,1,2\n", r"line 3 has 4 fields where 3 belong"),
        ("ID a b\ni1 0 1\ni2 0\n", r"line 3 has 2 fields where 3 belong"),
        ("ID,a,b\ni1,0\ni2,0,1\n", r"header has 3 fields and line 2 has 2"),
        ("ID,a,a\ni1,0,1\n", r"geno\.csv: marker name 'a' occurs twice \(columns 2 and 3\)"),
        ("i1,0,0\ni2,1,2\n", r"marker name '0' occurs twice .* first line is a header"),
        ("ID,a,\ni1,0,1\n", "column 3 has no marker name"),
        ("ID,a\ni1,0\n\ni1,1\n", r"individual ID 'i1' occurs twice \(lines 2 and 4\)"),
        ("ID,a\ni1,0\n,1\n", "line 3 has no individual ID"),
        ("ID,a\nNA,0\ni2,1\n", "line 2 has no individual ID"),
        ("ID\ni1\ni2\n", "there must be IDs and at least one more column"),
        ("ID,a\n", "there is a header but no data"),
        ("", r"geno\.csv: the file is empty"),
        ("\n\n", "the file is empty"),
        (b"PK\x03\x04\0\0\xff\xfe junk\n\0\0", "line 1 is not UTF-8 text"),
        ("ID,a\nJosé,1\n".encode("latin-1"), "line 2 is not UTF-8 text"),
        ("ID,a\ni1,1\n".encode("utf-16"), "line 1 is not UTF-8 text"),
        ("ID,a\ri1,1\r", "line 1 is not UTF-8 text"),
        (b"\x1f\x8b\x08junk", "the file cannot be read"),
        ("##fileformat=VCFv4.2\n##x\n", r"geno\.csv: this is a VCF file: .* --make-bed"),
        ("#CHROM\tPOS\tID\n1\t100\trs1\n", "this is a VCF file"),
        (gzip.compress(b"ID,a\ni1,0\ni2,1\n", mtime=0)[:-9], "the file cannot be read"),
        ("ID,a,b\ni1,1,1\ni2,1,1\n", r"geno\.csv: no marker is left of 2: 2 no variance"),
    ],
)  # fmt: skip
def test_bad_genotype_files(write, content, message):
    with pytest.raises(InputError, match=message):
        read_genotypes(write(content))


def test_error_in_a_transposed_file_names_marker_and_individual(write):
    with pytest.raises(InputError, match=r"marker 'snp2', individual 'i1' \(line 3\)"):
        read_genotypes(write("ID,i1,i2\nsnp1,0,1\nsnp2,5,1\n"), transposed=True)
    with pytest.raises(InputError, match=r"marker name 'snp1' occurs twice \(lines 2 and 3\)"):
        read_genotypes(write("ID,i1,i2\nsnp1,0,1\nsnp1,0,1\n"), transposed=True)


@pytest.mark.parametrize("read", [read_genotypes, read_table, read_pedigree])
def test_sources_that_are_not_there_or_not_data(tmp_path, read):
    with pytest.raises(InputError, match=r"nowhere\.csv: there is no such file"):
        read(tmp_path / "nowhere.csv")
    with pytest.raises(InputError, match="this is a directory"):
        read(str(tmp_path))
    with pytest.raises(InputError, match=r"^\.: this is a directory"):
        read(".")
    with pytest.raises(InputError, match="data of type list cannot be read"):
        read([[0, 1]])
    with pytest.raises(InputError, match=r"x{40}\.\.\. .* there can be no such file \(File name"):
        read("x" * 300)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.array([0, 1, 2]), "1 dimensions, not two"),
        (np.empty((0, 3)), "no genotypes"),
        (pd.DataFrame(index=["a"]), "no genotypes"),
        (
            pd.DataFrame({"a": [0, 1], "b": [0, 7]}),
            "genotype 7 of marker 'b', individual '1' is out",
        ),
        (pd.DataFrame({"a": ["0", "A/T"]}), "genotype A/T of marker 'a', individual '1' is not a"),
        (pd.DataFrame({"a": [0, 1]}, index=["x", "x"]), r"'x' occurs twice \(rows 1 and 2\)"),
        (pd.DataFrame([[0, 1]], columns=["a", "a"]), r"marker name 'a' occurs twice \(columns"),
    ],
)
def test_bad_genotypes_in_memory(source, message):
    with pytest.raises(InputError, match=message):
        read_genotypes(source)


def test_separator_must_be_one_character(write):
    path = write("ID|a\ni1|0\ni2|1\n")
    assert read_genotypes(path, sep="|").p == 1
    with pytest.raises(InputError, match="not one character"):
        read_genotypes(path, sep="||")


@pytest.fixture
def bed(tmp_path):
    """Path of a small .bed file: five individuals, three markers."""
    values = polymorphic(np.array([[0, 1, 2], [1, NAN, 1], [2, 1, 0]]))
    to_bed(tmp_path / "x.bed", values, properties={"fid": list("FFFFG"), "iid": list("abcde")})
    return tmp_path / "x.bed"


def test_shared_iids_are_made_unique_with_the_family(bed):
    assert read_genotypes(bed).individuals.tolist() == list("abcde")
    fam = bed.with_suffix(".fam")
    fam.write_text(fam.read_text().replace("G e", "G a").replace("G\te", "G\ta"))
    assert read_genotypes(bed).individuals.tolist() == ["F_a", "F_b", "F_c", "F_d", "G_a"]


@pytest.mark.parametrize("suffix", [".bim", ".fam", ".bed"])
def test_missing_part_of_a_bed_set(bed, suffix):
    bed.with_suffix(suffix).unlink()
    with pytest.raises(InputError, match=rf"x\{suffix}: there is no such file"):
        read_genotypes(bed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: b"ab" + raw[2:], r"x\.bed: this is not a PLINK 1 \.bed file"),
        (lambda raw: b"", "not a PLINK 1"),
        (lambda raw: raw[:2] + b"\0" + raw[3:], "ordered by individual"),
        (lambda raw: raw[:-1], r"x\.bed: the file has 8 bytes, .* need 9"),
        (lambda raw: raw + b"\0", "the file has 10 bytes"),
    ],
)
def test_bad_bed(bed, change, message):
    bed.write_bytes(change(bed.read_bytes()))
    with pytest.raises(InputError, match=message):
        read_genotypes(bed)


def test_bed_without_its_reader_says_what_to_install(bed, monkeypatch):
    monkeypatch.setitem(sys.modules, "bed_reader", None)
    with pytest.raises(InputError, match=r"x\.bed: .* install nnmm-pymc\[io\]"):
        read_genotypes(bed)


def test_a_column_may_be_called_as_one_of_its_levels(tmp_path):
    (tmp_path / "t.csv").write_text("ID,case\ni1,case\ni2,control\n")
    assert read_table(tmp_path / "t.csv").levels("case").tolist() == ["case", "control"]


@pytest.mark.parametrize(
    "header", ["FID IID PAT MAT SEX PHENO", "#FID\tIID\tFATHER\tMOTHER\tsex\tP1"]
)
def test_a_fam_file_has_no_header(bed, header):
    """Five individuals and their header fill as many bytes as six would."""
    fam = bed.with_suffix(".fam")
    fam.write_text(f"{header}\n{fam.read_text()}")
    with pytest.raises(InputError, match=r"x\.fam: line 1 looks like a header"):
        read_genotypes(bed)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1 a 0 1 A C\n1 b 0 2 A\n1 c 0 3 A C\n", r"x\.bim: line 2 has 5 fields where 6 belong"),
        (
            "1 . 0 1 A C\n1 . 0 2 A C\n1 c 0 3 A C\n",
            r"marker name '\.' occurs twice \(lines 1 and 2",
        ),
        ("", r"x\.bim: the file is empty"),
    ],
)
def test_bad_bim(bed, content, message):
    bed.with_suffix(".bim").write_text(content)
    with pytest.raises(InputError, match=message):
        read_genotypes(bed)


# --- tables ---------------------------------------------------------------------------------------

NUMBERS = arrays(
    np.float64,
    array_shapes(min_dims=2, max_dims=2, max_side=6),
    elements=st.floats(-1e12, 1e12) | st.just(NAN),
)


@reuse_folder
@given(
    NUMBERS, st.sampled_from([",", "\t", ";", " "]), st.booleans(), st.sampled_from(["\n", "\r\n"])
)
def test_table_round_trip(write, values, sep, zipped, newline):
    content = as_text(values, sep, newline).encode()
    table = read_table(write(gzip.compress(content) if zipped else content, "omics.csv"))
    np.testing.assert_allclose(table.numeric(list(table.frame.columns)), values, rtol=1e-14)
    assert table.individuals.tolist() == [f"i{i + 1}" for i in range(len(values))]
    flipped = read_table(write(as_text(values.T), "t.csv"), transposed=True)
    np.testing.assert_allclose(flipped.numeric(list(flipped.frame.columns)), values, rtol=1e-14)


@reuse_folder
@given(NUMBERS)
def test_pandas_round_trip(tmp_path, values):
    frame = pd.DataFrame(values).add_prefix("gene")
    frame.index = [f"i{i}" for i in range(len(frame))]
    frame.to_csv(tmp_path / "omics.csv")
    for table in (read_table(tmp_path / "omics.csv"), read_table(frame)):
        np.testing.assert_allclose(table.numeric(list(frame.columns)), values, rtol=1e-14)
        assert table.individuals.tolist() == frame.index.tolist()
        assert table.frame.columns.tolist() == frame.columns.tolist()


def test_a_table_of_every_kind_of_column(write):
    text = (
        "\ufeffname,y,sex,herd,none,ok\r\n06, 1.5,m,h1,,TRUE\r\n\r\n7,.,f,h2,NA,FALSE\r\n"
        '"a, b",2e3,null,3,NaN,TRUE\r\n'
    )
    table = read_table(write(text, "y.csv"))
    assert table.individuals.tolist() == ["06", "7", "a, b"]
    expected = [[1.5, NAN, 1], [NAN, NAN, 0], [2000, NAN, 1]]
    np.testing.assert_array_equal(table.numeric(["y", "none", "ok"]), expected)
    assert table.frame["herd"].tolist() == ["h1", "h2", "3"]
    assert table.frame["sex"].isna().tolist() == [False, False, True]
    assert (table.source, list(table.lines)) == ("y.csv", [2, 4, 5])


def test_name_and_passthrough(write):
    table = read_table(write("ID,y\na,1\n"), name="trait")
    assert table.source == "trait" and read_table(table) is table
    assert read_table(table, name="other").source == "other"


def test_id_column(write):
    path = write('"line" "y"\n"1" "a" 0.5\n"2" "b" 0.7\n', "r.txt")  # R numbers the rows
    assert read_table(path).individuals.tolist() == ["1", "2"]
    table = read_table(path, id_column="line")
    assert table.individuals.tolist() == ["a", "b"] and table.frame.columns.tolist() == ["y"]
    with pytest.raises(InputError, match=r"r\.txt: there is no column 'ID'"):
        read_table(path, id_column="ID")
    path = write("y,name\n0.5,a\n0.7,b\n")
    table = read_table(path, id_column="name")
    assert table.individuals.tolist() == ["a", "b"]
    np.testing.assert_array_equal(table.numeric(["y"]), [[0.5], [0.7]])


def test_plink_tables(write):
    table = read_table(write("FID IID y\n1 06 0.5\nF2 b 0.7\n1 c NA\n", "pheno.txt"))
    assert table.individuals.tolist() == ["06", "b", "c"]
    assert table.frame["FID"].tolist() == ["1", "F2", "1"]
    shared = write("#FID\tIID\ty\n1\t1\t0.5\n2\t1\t0.7\n", "pheno.txt")
    assert read_table(shared).individuals.tolist() == ["1_1", "2_1"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "ID,y\na,1\n\nb,x\nc,3\n",
            r"y\.csv: 'x' in column 'y', individual 'b' \(line 4\) is not a",
        ),
        ("ID,y\na,1\nb,inf\nc,3\n", r"'inf' in column 'y', individual 'b' \(line 3\) is not a fin"),
        ("ID,y\na,1\nb,1e400\nc,3\n", r"in column 'y', individual 'b' \(line 3\) is not a finite"),
        ("ID,y\na,1\na,2\n", r"y\.csv: individual ID 'a' occurs twice \(lines 2 and 3\)"),
        ("ID,y\na,1\n,2\n", r"y\.csv: line 3 has no individual ID"),
        ("ID,y,y\na,1,2\n", r"y\.csv: column name 'y' occurs twice \(columns 2 and 3\)"),
        ("ID,y,ID\na,1,2\n", r"column name 'ID' occurs twice \(columns 1 and 3\)"),
        ("ID,y,\na,1,2\n", "column 3 has no column name"),
        ("ID,y,z\na,1,2\nb,1\n", "line 3 has 2 fields where 3 belong"),
        ("ID,y,z\na,1,2\nb,1,2,3\n", "line 3 has 4 fields where 3 belong"),
        ('ID y\na 1\n"b 2\nc 3\n', "quotation mark is not closed"),
        ("ID\na\n", "there must be IDs and at least one more column"),
        ("ID,y\n", "a header but no data"),
        ("", "the file is empty"),
        (b"\x89PNG\0\0", "not UTF-8"),
        ("a,15,m\nb,16,f\nc,17,m\n", r"y\.csv: the first line looks like data \(15, m\)"),
        ("a m 2 h1\nb f 3 h1\nc m NA h2\n", r"the first line looks like data \(m, 2, h1\)"),
    ],
)
def test_bad_tables(write, content, message):
    with pytest.raises(InputError, match=message):
        read_table(write(content, "y.csv"))


def test_text_where_numbers_are_needed_names_the_line(write):
    table = read_table(write("ID,y\na,NA\nb,low\n", "y.csv"))
    with pytest.raises(
        InputError, match=r"'low' in column 'y', individual 'b' \(line 3\) is not a"
    ):
        table.numeric(["y"])


def test_text_in_a_transposed_table(write):
    with pytest.raises(InputError, match="'x' in column 'g2', individual 'b' is not a finite"):
        read_table(write("g,a,b,c\ng1,1,2,3\ng2,1,x,3\n"), transposed=True)


def test_parquet(tmp_path):
    path = tmp_path / "omics.parquet"
    frame = pd.DataFrame({"name": ["a", "b"], "y": [1.0, 2.0]})
    try:
        frame.to_parquet(path)
    except ImportError:
        with pytest.raises(InputError, match="needs pyarrow"):
            read_table(path)
    else:
        assert read_table(path).individuals.tolist() == ["a", "b"]


# --- real files -----------------------------------------------------------------------------------


@with_data
def test_zhao2022():
    folder = DATA / "zhao2022_part3"
    layers = {
        "geno": read_genotypes(folder / "genotypes.csv"),
        "omics": read_table(folder / "omics.csv"),
        "pheno": read_table(folder / "y.csv"),
    }
    assert layers["geno"].n == 1055
    assert layers["omics"].frame.shape == (1055, 20)
    alignment = align(layers)
    assert len(alignment.individuals) == 1055 and alignment.presence.all(axis=None)
    expected = pd.read_csv(folder / "genotypes.csv", index_col=0)
    constant = expected.nunique() == 1
    assert set(layers["geno"].report.dropped.index) == set(expected.columns[constant])
    np.testing.assert_array_equal(layers["geno"].dosages, expected.loc[:, ~constant].T)
    partial = read_table(folder / "missing_cells" / "omics_partialmissing.pct0.5.rep1.csv")
    assert partial.frame.isna().to_numpy().mean() == pytest.approx(0.5 * 955 / 1055, abs=0.001)


@with_data
def test_rice210_is_transposed():
    folder = DATA / "rice210"
    genotypes = read_genotypes(folder / "demo_geno.csv", transposed=True)
    metabolites = read_table(folder / "demo_Metabolites.csv", transposed=True)
    traits = read_table(folder / "demo_agro.txt", id_column="RIL")
    assert genotypes.n == 210 and genotypes.p + len(genotypes.report.dropped) == 1619
    assert genotypes.individuals[0] == "R001" and metabolites.frame.shape == (210, 1000)
    assert traits.numeric(["Trait1"])[0, 0] == 26.55
    alignment = align({"geno": genotypes, "omics": metabolites, "pheno": traits})
    assert len(alignment.individuals) == 210 and alignment.presence.all(axis=None)


@with_data
def test_igrowth_bed():
    folder = DATA / "omickriging_igrowth"
    genotypes = read_genotypes(folder / "ig_genotypes.bed")
    assert genotypes.n == 99 and genotypes.report.n_markers_read == 43555
    # Unpacked by hand: two bits a call, 00 = two A1 alleles, 01 = missing, 10 = one, 11 = none.
    raw = np.fromfile(folder / "ig_genotypes.bed", np.uint8)[3:].reshape(43555, 25)
    calls = np.array([2, -1, 1, 0])[(raw[:, :, None] >> np.array([0, 2, 4, 6])) & 3]
    kept = ~pd.read_csv(folder / "ig_genotypes.bim", sep="\t", header=None)[1].isin(
        genotypes.report.dropped.index
    )
    np.testing.assert_array_equal(genotypes.dosages, calls.reshape(43555, 100)[kept, :99])
    layers = {
        "geno": genotypes,
        "omics": read_table(folder / "ig_gene_subset.txt.gz"),
        "pheno": read_table(folder / "ig_pheno.txt"),
    }
    alignment = align(layers)
    assert len(alignment.individuals) == 99 and alignment.presence.all(axis=None)


@with_data
def test_jwas_files_with_and_without_a_name_for_the_ids():
    folder = DATA / "jwas_simulated_annotations"
    genotypes = read_genotypes(folder / "genotypes.csv")
    assert genotypes.n == 400 and genotypes.p + len(genotypes.report.dropped) == 964
    raw = read_genotypes(folder / "raw_genotypes.txt")
    assert raw.n == 503 and raw.individuals[0] == "HG00096"
    assert raw.markers[0] == "rs62224609_C" and raw.report.n_markers_read == 1000

"""Whatever the names, the cells and the order of rows: readers, alignment, QC, formulas, masks."""

import csv
import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nnmm_pymc import Equation, InputError, Layer, Network, align, read_genotypes, read_table
from nnmm_pymc.data import MISSING, Table, quality_control
from nnmm_pymc.data.names import MISSING_TEXT
from nnmm_pymc.io import read_connections

NAN = np.nan
files = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40
)
values = settings(deadline=None)

# Any printable text, quotation marks and separators in it included.
WORDS = (
    st.text(
        st.characters(codec="utf-8", exclude_categories=["C", "Z"]) | st.just(" "),
        min_size=1,
        max_size=6,
    )
    .map(str.strip)
    .filter(lambda word: word not in MISSING_TEXT and "\ufeff" not in word)
)
SEPARATORS = st.sampled_from([",", "\t", ";"])


def names(n):
    """`n` different names that are no numbers: a header of numbers is taken for data."""
    word = WORDS.filter(lambda word: not word[-1].isnumeric() and word.lower() != "id")
    return st.lists(word.map("x{}".format), min_size=n, max_size=n, unique=True)


@st.composite
def tables(draw, elements):
    """IDs, columns and values."""
    n, k = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    ids = draw(st.lists(WORDS, min_size=n, max_size=n, unique=True))
    assume(not all(name.removeprefix("-").replace(".", "").isdecimal() for name in ids))
    assume(not {"id", "iid", "fid"} & {name.lstrip("#").lower() for name in ids})
    return ids, draw(names(k)), draw(arrays(np.float64, (n, k), elements=elements))


def written(path, header, ids, cells, sep, newline):
    """A table as Python's csv module writes it."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=sep, lineterminator=newline)
    writer.writerow(["ID", *header])
    writer.writerows([name, *row] for name, row in zip(ids, cells, strict=True))
    path.write_bytes(text.getvalue().encode())
    return path


def named(sep, *words):
    """The separator, where words hold one: no guess could be sure then."""
    return sep if any(mark in word for mark in ",;\t " for word in words) else None


def as_texts(values, missing):
    return [[missing if np.isnan(v) else repr(float(v)) for v in row] for row in values]


# --- readers --------------------------------------------------------------------------------------


@files
@given(
    tables(st.floats(allow_infinity=False)),
    SEPARATORS,
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(sorted(MISSING_TEXT)),
    st.booleans(),
)
def test_a_table_is_read_as_it_was_written(tmp_path, table, sep, newline, missing, flipped):
    ids, columns, values = table
    if flipped:
        path = written(tmp_path / "t", ids, columns, as_texts(values.T, missing), sep, newline)
    else:
        path = written(tmp_path / "t", columns, ids, as_texts(values, missing), sep, newline)
    read = read_table(path, sep=named(sep, *ids, *columns), transposed=flipped)
    assert read.individuals.tolist() == ids
    assert read.frame.columns.tolist() == columns
    np.testing.assert_array_equal(read.numeric(columns), values)


@files
@given(tables(st.integers(0, 3)), SEPARATORS, st.data())
def test_columns_of_text_are_read_as_they_were_written(tmp_path, table, sep, data):
    ids, columns, codes = table
    levels = data.draw(st.lists(WORDS.map("t{}".format), min_size=4, max_size=4, unique=True))
    cells = [[levels[int(code)] for code in row] for row in codes]
    path = written(tmp_path / "t", columns, ids, cells, sep, "\n")
    read = read_table(path, sep=named(sep, *ids, *columns, *levels))
    assert read.frame.to_numpy().tolist() == cells


@files
@given(
    tables(st.sampled_from([0, 1, 2, NAN]) | st.floats(2**-20, 2, width=32)),
    SEPARATORS,
    st.sampled_from(["NA", "", ".", "-9", "nan"]),
)
def test_genotypes_are_read_as_they_were_written(tmp_path, table, sep, missing):
    ids, markers, values = table
    assume((np.nanmin(values, 0, initial=9) < np.nanmax(values, 0, initial=-9)).all())
    path = written(tmp_path / "g", markers, ids, as_texts(values, missing), sep, "\n")
    read = read_genotypes(path, sep=named(sep, *ids, *markers))
    assert read.individuals.tolist() == ids and read.markers.tolist() == markers
    whole = read.dosages.dtype == np.int8
    filled = np.where(np.isnan(values), MISSING if whole else np.nanmean(values, 0), values)
    np.testing.assert_allclose(read.dosages.T, filled, rtol=1e-6)


@files
@given(tables(st.sampled_from([0, 0.5, 1, 2, NAN])), st.randoms(use_true_random=False))
def test_the_order_of_rows_and_columns_changes_nothing(tmp_path, table, random):
    ids, columns, values = table
    assume((np.nanmin(values, 0, initial=9) < np.nanmax(values, 0, initial=-9)).all())
    rows, order = (random.sample(range(k), k) for k in values.shape)
    mixed = [ids[i] for i in rows], [columns[j] for j in order], values[np.ix_(rows, order)]
    for read, whole in ((read_table, "frame"), (read_genotypes, "to_frame")):
        frames = []
        for names_, header, cells in ((ids, columns, values), mixed):
            path = written(tmp_path / "t", header, names_, as_texts(cells, "NA"), ",", "\n")
            frame = getattr(read(path), whole)
            frames.append(frame() if callable(frame) else frame)
        # Means are sums in another order.
        pd.testing.assert_frame_equal(frames[1].loc[ids, columns], frames[0], rtol=1e-6)


# --- alignment ------------------------------------------------------------------------------------

PEOPLE = [f"i{k}" for k in range(8)]
LAYERS = st.fixed_dictionaries(
    {
        name: st.lists(st.sampled_from(PEOPLE), min_size=2, unique=True)
        for name in ("geno", "chip", "omics", "pheno")
    }
)


def layer(name, ids):
    """Data that depend on the individual, not on the place of the row."""
    own = [PEOPLE.index(i) for i in ids]
    if name in ("geno", "chip"):
        calls = np.random.default_rng(len(name)).integers(0, 3, (8, 6))
        frame = pd.DataFrame(calls[own], ids).add_prefix(f"{name}_")
        return read_genotypes(frame, drop_constant=False)
    values = np.random.default_rng(len(name)).normal(size=(8, 2))
    return Table(pd.DataFrame(values[own], ids).add_prefix(f"{name}_"), name)


def aligned(layers):
    try:
        return align(layers)
    except InputError:
        return None


@values
@given(LAYERS)
def test_every_individual_of_every_layer_is_kept_or_dropped(ids):
    alignment = aligned({name: layer(name, own) for name, own in ids.items()})
    assume(alignment is not None)
    kept, dropped = set(alignment.individuals), set(alignment.dropped.index)
    for name, own in ids.items():
        assert set(alignment.presence.index[alignment.presence[name]]) == set(own)
        assert len(kept & set(own)) + len(dropped & set(own)) == len(own)
        assert f"{name}: {len(own)} individuals" in str(alignment)
    assert kept == set(ids["geno"]) & set(ids["chip"])
    assert f"{len(kept)} kept, {len(dropped)} dropped" in str(alignment)


@settings(deadline=None, max_examples=30)
@given(LAYERS, st.randoms(use_true_random=False))
def test_the_order_of_rows_of_any_layer_changes_no_node(ids, random):
    equations = ["omics ~ 1 + geno + chip", "pheno ~ 1 + tanh(omics)"]
    networks = []
    for own in (ids, {name: random.sample(rows, len(rows)) for name, rows in ids.items()}):
        try:
            layers = [Layer(name, layer(name, rows)) for name, rows in own.items()]
            networks.append(Network(layers, equations))
        except InputError as error:
            networks.append(type(error))
    first, second = networks
    if isinstance(first, type):
        assert second is first
        return
    back = second.individuals.get_indexer(first.individuals)
    assert sorted(second.individuals) == sorted(first.individuals)
    for a, b in zip(first.nodes, second.nodes, strict=True):
        np.testing.assert_array_equal(a.observed, b.observed[back])
        np.testing.assert_array_equal(a.latent, b.latent[back])
        for x, y in zip(a.markers, b.markers, strict=True):
            np.testing.assert_array_equal(x.genotypes.dosages, y.genotypes.dosages[:, back])
            np.testing.assert_array_equal(x.genotypes.mean, y.genotypes.mean)


# --- quality control ------------------------------------------------------------------------------

CALLS = st.tuples(st.integers(1, 7), st.integers(1, 7)).flatmap(
    lambda shape: arrays(np.int8, shape, elements=st.integers(-1, 2))
)


@values
@given(CALLS, st.floats(0, 0.5), st.floats(0, 1), st.booleans())
def test_filters_account_for_every_marker_and_are_idempotent(calls, maf, max_missing, real):
    markers = pd.Index([f"m{j}" for j in range(len(calls))])
    given_dosages = np.where(calls < 0, NAN, calls).astype(np.float32) if real else calls
    options = {"maf": maf, "max_missing": max_missing}
    try:
        dosages, kept, mean, report = quality_control(given_dosages, markers, **options)
    except InputError as error:
        assert f"no marker is left of {len(markers)}" in str(error)
        return
    assert sorted([*kept, *report.dropped.index]) == sorted(markers)
    assert report.n_markers + len(report.dropped) == report.n_markers_read == len(markers)
    where = markers.get_indexer(kept)
    assert report.missing_cells == (calls[where] < 0).sum()
    for j in range(len(calls)):
        present = calls[j][calls[j] >= 0]
        frequency = present.mean() / 2 if len(present) else 0
        bad = (
            len(set(present)) < 2
            or min(frequency, 1 - frequency) < maf
            or (calls[j] < 0).mean() > max_missing
        )
        assert bad == (markers[j] in report.dropped.index)
    if not real:
        again, _, mean_again, second = quality_control(dosages, kept, **options)
        assert len(second.dropped) == 0
        np.testing.assert_array_equal(again, dosages)
        np.testing.assert_array_equal(mean_again, mean)


# --- formulas -------------------------------------------------------------------------------------

COLUMNS = st.sampled_from(["geno", "omics", "age", "sex", "gene_1", "x.1", "é"])
FACTORS = COLUMNS | st.builds("{}({})".format, st.sampled_from(["tanh", "log", "scale"]), COLUMNS)
TERMS = st.recursive(
    FACTORS
    | st.builds("tanh(scale({}))".format, COLUMNS)
    | st.builds("f({}, {})".format, COLUMNS, COLUMNS),
    lambda inner: (
        st.builds("{}{}{}".format, inner, st.sampled_from([":", " : ", "*"]), FACTORS)
        | st.builds("({} + {})".format, inner, inner)
    ),
    max_leaves=4,
)
FORMULAS = st.builds(
    "{} ~ {}{}".format,
    st.sampled_from(["y", "omics", "y1 + y2", " y "]),
    st.sampled_from(["1 + ", "", "0 + ", "-1 + "]),
    st.lists(TERMS, min_size=1, max_size=4).map(" + ".join),
)


def printed(equation):
    """The equation from its parts."""
    right = equation.right if equation.intercept else ("0", *equation.right)
    return f"{' + '.join(equation.left)} ~ {' + '.join(right)}"


@values
@given(FORMULAS)
def test_a_formula_that_is_printed_and_read_again_is_the_same(formula):
    first = Equation(formula)
    second = Equation(printed(first))
    assert (second.left, second.right, second.terms) == (first.left, first.right, first.terms)
    words = set().union(*(term.names for term in first.terms))
    for name in ("geno", "omics", "age", "sex", "gene_1", "x.1", "é"):
        assert (name in words) == (name in formula.split("~")[1])


@settings(max_examples=300, deadline=None)
@given(
    st.text(max_size=30)
    | st.text("yx1+-*/:~()[]{}|'\"`%.,=<> \n", max_size=20).map("y ~ {}".format)
    | st.lists(st.sampled_from([*"+-*:~()1", "**", "geno", "tanh(", "x", " "]), max_size=9).map(
        lambda parts: "y ~ " + "".join(parts)
    )
)
def test_junk_is_refused_or_read_to_its_end(junk):
    try:
        equation = Equation(junk)
        terms = equation.terms
    except InputError:
        return
    assert equation.left
    words = "".join(name for term in terms for name in term.names)
    for name in ("geno", "x"):
        # Only what was subtracted again may be gone.
        assert name in words or name not in junk.split("~")[1] or "-" in junk


@pytest.mark.parametrize(
    "formula",
    [
        "y ~ 1 + geno omics",
        "y ~ geno, omics",
        "y ~ 1 + geno 2",
        "y ~ geno) + omics",
        "y ~ 1e5 + geno",
    ],
)
def test_what_stands_behind_a_formula_is_not_dropped(formula):
    with pytest.raises(InputError, match="cannot be read: an operator is lacking before"):
        Equation(formula)


# --- masks ----------------------------------------------------------------------------------------

MARKERS = [f"snp{j}" for j in range(5)]
GENES = ["gene1", "gene2", "gene3"]
LINKS = st.fixed_dictionaries(
    {gene: st.lists(st.sampled_from(MARKERS), min_size=1, unique=True) for gene in GENES}
)
CALLS_OF = dict(zip(MARKERS, np.random.default_rng(1).integers(0, 3, (5, 8)), strict=True))
OMICS = pd.DataFrame(np.random.default_rng(2).normal(size=(8, 3)), PEOPLE, GENES)


def reach(network):
    """Which markers reach each gene."""
    found = {gene: set() for gene in GENES}
    for node in network.nodes:
        for edge in node.markers:
            mask = edge.mask
            for k, gene in enumerate(node.columns):
                on = np.ones(edge.genotypes.p, bool) if mask is None else mask[:, k]
                found[gene] |= set(edge.genotypes.markers[on])
    return found


def connected(connections, markers=MARKERS):
    geno = pd.DataFrame({m: CALLS_OF[m] for m in markers}, PEOPLE)
    equation = Equation("omics ~ 1 + geno", connections=connections)
    return reach(Network([Layer("geno", geno), Layer("omics", OMICS)], [equation]))


@files
@given(LINKS, st.randoms(use_true_random=False))
def test_mappings_edge_tables_and_several_files_give_the_same_mask(tmp_path, links, random):
    wanted = {gene: set(own) for gene, own in links.items()}
    assert connected(links) == wanted
    assert connected({gene: iter(own) for gene, own in links.items()}) == wanted
    edges = [(gene, marker) for gene, own in links.items() for marker in own]
    random.shuffle(edges)
    frame = pd.DataFrame(edges, columns=["omic", "marker"])
    frame.to_csv(tmp_path / "edges.tsv", sep="\t", index=False)
    assert connected(read_connections(frame), MARKERS[::-1]) == wanted
    assert connected(read_connections(tmp_path / "edges.tsv")) == wanted
    layers = [Layer("omics", OMICS)]
    for gene, own in links.items():
        calls = pd.DataFrame({m: CALLS_OF[m] for m in own}, PEOPLE)
        layers.append(Layer(f"geno_{gene}", read_genotypes(calls)))
    network = Network(layers, [f"{gene} ~ 1 + geno_{gene}" for gene in GENES])
    assert reach(network) == wanted


@values
@given(LINKS, st.sampled_from(GENES), st.sampled_from(["snp99", 3, "", ("snp1",)]))
def test_an_unknown_marker_is_named(links, gene, unknown):
    with pytest.raises(InputError) as error:
        connected({**links, gene: [*links[gene], unknown]})
    assert repr(unknown) in str(error.value) and repr(gene) in str(error.value)


def test_an_unknown_column_is_named():
    with pytest.raises(InputError, match=r"name 'gene9', which is not a column of 'omics'"):
        connected({"gene9": ["snp1"]})


@pytest.mark.parametrize("first", ["gene1,snp1", "gene1,dropped", "gene9,snp1"])
def test_an_edge_above_the_others_is_no_header(tmp_path, first):
    path = tmp_path / "edges.csv"
    path.write_text(f"{first}\ngene2,snp2\ngene3,snp3\n")
    parents, frame = read_connections(path), read_connections(pd.read_csv(path))
    for connections in (parents, {"geno": parents}, frame):
        with pytest.raises(InputError, match=r"^(edges\.csv|Data.*): the header names the .* edge"):
            connected(connections)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("omic,marker\ngene1,\n", r"edges\.csv: line 2 must have two fields"),
        ("omic,marker,x\ngene1,snp1,1\n", r"line 2 must have two fields"),
        ("gene1,snp1\ngene1,snp2\n", "first line must be a header"),
        ("gene1,snp1\ngene2,snp1\n", "first line must be a header"),
    ],
)
def test_bad_edge_tables(tmp_path, text, message):
    path = tmp_path / "edges.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_connections(path)
    with pytest.raises(InputError, match="DataFrame: connections have two columns, not 1"):
        read_connections(pd.DataFrame({"omic": ["a"]}))

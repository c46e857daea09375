"""Genotypes, tables, alignment by ID, and covariates beside them."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnmm_pymc.data import MISSING, Genotypes, Table, align, quality_control
from nnmm_pymc.errors import InputError
from nnmm_pymc.io import read_genotypes
from nnmm_pymc.network import Layer, Network

NAN = np.nan


def genotypes_of(ids, seed=0, source="geno.csv"):
    """Five polymorphic markers of these individuals."""
    calls = np.random.default_rng(seed).integers(0, 3, (5, len(ids))).astype(np.int8)
    calls[:, :2] = [0, 2]
    dosages, markers, mean, report = quality_control(calls, pd.Index(list("ABCDE")))
    return Genotypes(dosages, pd.Index(ids, dtype=str), markers, mean, report, source=source)


# --- quality control ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.int8, np.float32])
def test_statistics_agree_with_numpy_on_every_block(dtype):
    rng = np.random.default_rng(1)
    values = rng.integers(0, 3, (600, 40)).astype(np.float64)  # more than two blocks of markers
    values[:, :2] = [0, 2]
    if dtype == np.float32:
        values = np.clip(values + rng.choice([0, 0.25], values.shape), 0, 2)
    values[rng.random(values.shape) < 0.2] = NAN
    values[:, :2] = [0, 2]
    raw = np.where(np.isnan(values), MISSING, values) if dtype == np.int8 else values
    dosages, markers, mean, report = quality_control(raw.astype(dtype), pd.RangeIndex(600))
    np.testing.assert_allclose(mean, np.nanmean(values, axis=1), rtol=1e-12)
    assert len(markers) == 600 and len(report.dropped) == 0
    assert report.missing_cells == np.isnan(values).sum()
    if dtype == np.float32:
        imputed = np.where(np.isnan(values), np.nanmean(values, axis=1)[:, None], values)
        np.testing.assert_allclose(dosages, imputed, rtol=1e-6)
    else:
        np.testing.assert_array_equal(dosages == MISSING, np.isnan(values))


def test_every_reason_to_drop_a_marker_is_reported():
    frame = pd.DataFrame(
        {
            "good": [0, 1, 2, 1, 0, 1, 2, 1],
            "flat": [1, 1, 1, 1, 1, 1, 1, 1],
            "flat_but_missing": [2, 2, 2, 2, 2, 2, 2, NAN],
            "empty": [NAN] * 8,
            "rare": [0, 0, 0, 0, 0, 0, 0, 1],
            "sparse": [0, 1, 2, NAN, NAN, NAN, NAN, NAN],
        },
        index=list("abcdefgh"),
    )
    genotypes = read_genotypes(frame, maf=0.1, max_missing=0.5)
    assert genotypes.markers.tolist() == ["good"]
    assert genotypes.report.dropped.to_dict() == {
        "flat": "no variance",
        "flat_but_missing": "no variance",
        "empty": "no call in any individual",
        "rare": "minor allele frequency 0.0625 below maf=0.1",
        "sparse": "missing rate 0.625 above max_missing=0.5",
    }
    text = str(genotypes.report)
    assert "8 individuals; 1 of 6 markers kept." in text
    assert "Dropped, no variance: 2 (flat, flat_but_missing)." in text
    assert "Dropped, minor allele frequency below maf=0.1: 1 (rare)." in text
    assert set(read_genotypes(frame).markers) == {"good", "rare", "sparse"}


def test_maf_counts_the_rarer_allele():
    frame = pd.DataFrame({"common": [2] * 9 + [1], "even": [0, 2] * 5}, index=range(10))
    assert read_genotypes(frame, maf=0.06).markers.tolist() == ["even"]
    assert read_genotypes(frame, maf=0.05).p == 2


@pytest.mark.parametrize("kind", ["hard", "real"])
def test_an_individual_without_any_call_counts_as_absent(kind):
    """It would be taken for one with average genotypes."""
    dosages = np.array([[0.0, 2.0], [1.0, 1.0], [np.nan, np.nan], [2.0, np.nan]])
    dosages += 0.0 if kind == "hard" else 0.25 * (dosages < 2.0)
    names = ["a", "b", "c", "d"]
    genotypes = read_genotypes(pd.DataFrame(dosages, names, ["snp1", "snp2"]))
    assert genotypes.uncalled == {"c"}
    assert "Individuals without any call, which a network leaves out: 1." in str(genotypes.report)
    pheno = Table(pd.DataFrame({"y": [1.0, 2.0, 3.0, 4.0]}, index=names))
    alignment = align({"geno": genotypes, "pheno": pheno})
    assert list(alignment.individuals) == ["a", "b", "d"]
    assert "Dropped, no genotypes in 'geno': 1 (c)." in str(alignment)
    assert list(align({"geno": genotypes.take(["c", "d"]), "pheno": pheno}).individuals) == ["d"]
    with pytest.raises(InputError, match=r"no marker is called in 1 individuals \(c\)"):
        genotypes.check_called()


def test_all_markers_dropped_is_an_error_that_says_why():
    with pytest.raises(InputError, match=r"DataFrame: no marker is left of 2: 2 no variance"):
        read_genotypes(pd.DataFrame({"a": [1, 1], "b": [0, 0]}))


@pytest.mark.parametrize("option", [{"maf": 5}, {"maf": -0.1}, {"max_missing": 10}])
def test_thresholds_out_of_range(option):
    with pytest.raises(InputError, match=r"is outside 0\.\."):
        read_genotypes(pd.DataFrame({"a": [0, 1]}), **option)


@pytest.mark.parametrize("option", [{"maf": "0.1"}, {"max_missing": None}])
def test_thresholds_that_are_no_numbers(option):
    with pytest.raises(InputError, match=r"is not a number: give a share from 0 to"):
        read_genotypes(pd.DataFrame({"a": [0, 1]}), **option)


def test_quality_control_leaves_its_input_alone():
    for dosages in (np.array([[0, 1, -1], [1, 1, 1]], np.int8), np.float32([[0, 0.5, NAN]])):
        before = dosages.copy()
        quality_control(dosages, pd.RangeIndex(len(dosages)))
        np.testing.assert_array_equal(dosages, before)


# --- Genotypes ------------------------------------------------------------------------------------


def test_summaries_by_hand():
    genotypes = read_genotypes(np.array([[0, 2], [1, 1], [NAN, 0]]))
    np.testing.assert_allclose(genotypes.allele_frequency, [0.25, 0.5])
    assert genotypes.sum2pq == pytest.approx(2 * 0.25 * 0.75 + 2 * 0.5 * 0.5)
    assert (genotypes.n, genotypes.p, genotypes.nbytes) == (3, 2, 6)
    assert genotypes.dosages.dtype == np.int8 and genotypes.dosages.flags.c_contiguous
    np.testing.assert_allclose(genotypes.centred(), [[-0.5, 1], [0.5, 0], [0, -1]])
    assert genotypes.centred(dtype=np.float32).dtype == np.float32
    np.testing.assert_allclose(genotypes.centred(["3", "1"]), [[0, -1], [-0.5, 1]])
    assert "3 individuals x 2 markers" in repr(genotypes) and "16.67% missing" in repr(genotypes)


def test_take_keeps_means_and_markers_of_the_whole():
    genotypes = genotypes_of(["a", "b", "c", "6"])
    part = genotypes.take([6.0, "b"])
    assert part.individuals.tolist() == ["6", "b"]
    np.testing.assert_array_equal(part.dosages, genotypes.dosages[:, [3, 1]])
    np.testing.assert_array_equal(part.mean, genotypes.mean)
    assert part.dosages.flags.c_contiguous
    assert part.take(["b"]).individuals.tolist() == ["b"]


def test_take_markers():
    genotypes = genotypes_of(["a", "b", "c"]).take_markers(["D", "A"])
    assert genotypes.markers.tolist() == ["D", "A"]
    np.testing.assert_array_equal(genotypes.dosages, genotypes_of(["a", "b", "c"]).dosages[[3, 0]])
    assert genotypes.mean.shape == (2,)


def test_unknown_or_repeated_names_are_refused():
    genotypes = genotypes_of(["a", "b"])
    with pytest.raises(InputError, match=r"geno\.csv has no individual zz \(1 of 2 unknown\)"):
        genotypes.take(["a", "zz"])
    with pytest.raises(InputError, match="'a' occurs twice"):
        genotypes.take(["a", "a"])
    with pytest.raises(InputError, match=r"no marker X"):
        genotypes.take_markers(["X"])


def test_to_frame_round_trip():
    genotypes = read_genotypes(np.array([[0, 2], [1, 1], [NAN, 0]]))
    again = read_genotypes(genotypes.to_frame())
    np.testing.assert_array_equal(again.dosages, genotypes.dosages)
    assert genotypes_of(["a", "b"]).to_frame().to_numpy().dtype == np.int8


def test_genotypes_refuse_parts_that_do_not_fit():
    good = genotypes_of(["a", "b", "c"])
    names = good.individuals, good.markers
    with pytest.raises(InputError, match="5 markers and 3 individuals"):
        Genotypes(good.dosages[:, :2], *names, good.mean, good.report)
    with pytest.raises(InputError, match="C-contiguous int8 or float32"):
        Genotypes(good.dosages.astype(float), *names, good.mean, good.report)
    with pytest.raises(InputError, match="individual names occur twice: a"):
        Genotypes(good.dosages, pd.Index(["a", "a", "b"]), good.markers, good.mean, good.report)


@pytest.mark.parametrize(("wrong", "between"), [(3, "0 and 3"), (-9, "-9 and 2")])
def test_calls_that_are_none_do_not_come_to_the_sweep(wrong, between):
    genotypes = genotypes_of(["a", "b", "c"])
    genotypes.dosages[2, 1] = wrong
    with pytest.raises(InputError, match=f"lie between {between}; give other dosages as float32"):
        _ = genotypes.packed


# --- Table ----------------------------------------------------------------------------------------


def test_table_keeps_factors_and_reads_numbers():
    frame = pd.DataFrame(
        {
            "y": ["1.5", " NA", "3"],
            "sex": ["m", "f", None],
            "case": [True, False, True],
            "maybe": [True, None, False],
            "count": pd.array([1, None, 3], dtype="Int64"),
            "latent": [None, None, None],
            "herd": pd.Categorical(["h1", "h2", "h1"]),
        },
        index=[6, 8, 10],
    )
    before = frame.copy(deep=True)
    table = Table(frame)
    pd.testing.assert_frame_equal(frame, before)
    assert table.individuals.tolist() == ["6", "8", "10"]
    expected = [[1.5, 1, 1, 1, NAN], [NAN, 0, NAN, NAN, NAN], [3, 1, 0, 3, NAN]]
    values = table.numeric(["y", "case", "maybe", "count", "latent"])
    np.testing.assert_array_equal(values, expected)
    assert values.dtype == np.float64
    assert table.frame["sex"].tolist()[:2] == ["m", "f"]
    assert pd.isna(table.frame["sex"].iloc[2])
    assert table.frame["herd"].dtype == "category"


@pytest.mark.parametrize("ids", [[6, 8], ["6", " 8 "], [6.0, 8.0], ["6.0", "8.0"]])
def test_the_same_id_in_any_type(ids):
    assert Table(pd.DataFrame({"y": [1.0, 2]}, index=ids)).individuals.tolist() == ["6", "8"]
    assert Table(pd.DataFrame({"y": [1.0, 2], "id": ids})).individuals.tolist() == ["6", "8"]


def test_ids_that_only_look_like_decimals_stay():
    ids = ["1.10", "2.0"]
    assert Table(pd.DataFrame({"y": [1.0, 2]}, index=ids)).individuals.tolist() == ids


def test_an_id_column_is_data_if_the_index_has_names():
    table = Table(pd.DataFrame({"ID": [1, 2]}, index=["a", "b"]))
    assert table.individuals.tolist() == ["a", "b"]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({"y": [1, 2]}, index=[6, "6"]), r"y\.csv: individual ID '6' .*rows 1 and 2"),
        (pd.DataFrame({"y": [1, 2]}, index=["a", " "]), r"y\.csv: row 2 has no individual ID"),
        (pd.DataFrame({"y": [1, 2]}, index=[NAN, "a"]), "row 1 has no individual ID"),
        (pd.DataFrame({"y": [1, 2], "ID": [3, None]}), "row 2 has no individual ID"),
        (pd.DataFrame([[1, 2]], columns=["y", "y "]), r"column name 'y' .*columns 1 and 2"),
        (pd.DataFrame([[1, 2]], columns=["y", None]), "column 2 has no column name"),
        (pd.DataFrame([[1]], columns=[("y", "a")]), "several levels"),
        (pd.DataFrame({"y": []}), "no data"),
        (pd.DataFrame(index=["a"]), "no data"),
        (
            pd.DataFrame({"y": [1.0, np.inf]}),
            r"'inf' in column 'y', individual '1' is not a finite",
        ),
        (
            pd.DataFrame({"y": ["1", "x", "2", "3"]}, index=list("abcd")),
            r"y\.csv: 'x' in column 'y', individual 'b' is not a finite number",
        ),
        (pd.DataFrame({"y": ["1", "1e400", "2"]}), "'1e400' in column 'y'"),
        (pd.DataFrame({"y": ["1", "x"]}), "'x' in column 'y'"),
        (pd.DataFrame({"y": ["1.234,5", "2.345,6", "7"]}), r"'1\.234,5' in column 'y'"),
        (pd.DataFrame({"y": ["5", "-", "-", "-", "6"]}), r"'-' in column 'y', .* if it is missing"),
    ],
)
def test_bad_tables(frame, message):
    with pytest.raises(InputError, match=message):
        Table(frame, "y.csv")


def test_text_with_few_numbers_is_a_factor_and_not_numeric():
    table = Table(pd.DataFrame({"herd": ["h1", "h2", "7"], "y": [1, 2, 3]}), "y.csv")
    assert table.frame["herd"].tolist() == ["h1", "h2", "7"]
    with pytest.raises(InputError, match=r"y\.csv: 'h1' in column 'herd', individual '0' is not a"):
        table.numeric(["y", "herd"])
    with pytest.raises(InputError, match=r"y\.csv has no column 'z'; it has herd, y"):
        table.numeric(["z"])
    grade = pd.Categorical(["low", "high"], ["low", "high"], ordered=True)
    with pytest.raises(InputError, match=r"'low' .* give numbers \(column\.cat\.codes\)"):
        Table(pd.DataFrame({"grade": grade})).numeric(["grade"])


def test_only_what_may_be_a_table_is_said_to_be_taken_for_genotypes():
    for cells, said in ([0, 1], False), ([0, 7], True):
        geno = pd.DataFrame({"a": cells}, index=["x", "x"] if not said else ["x", "z"])
        with pytest.raises(InputError, match="genotype 7" if said else "occurs twice") as error:
            Network([Layer("geno", geno), Layer("pheno", PHENOTYPES)], "y ~ 1 + geno")
        assert ("was taken for genotypes" in str(error.value)) is said


# --- align ----------------------------------------------------------------------------------------

IDS = st.lists(st.sampled_from([f"i{k}" for k in range(12)]), min_size=2, max_size=12, unique=True)


def layers_of(id_lists, n_geno):
    """Genotype layers, then tables, whose cells are tied to the ID."""
    return {
        f"layer{k}": genotypes_of(ids, source=f"g{k}.csv")
        if k < n_geno
        else Table(pd.DataFrame({"y": [float(i[1:]) for i in ids]}, index=ids), f"t{k}.csv")
        for k, ids in enumerate(id_lists)
    }


def aligned(layers):
    """Alignment, or None if the layers have nothing in common."""
    try:
        return align(layers)
    except InputError as error:
        assert "no individual" in str(error)
        return None


@given(st.lists(IDS, min_size=1, max_size=4), st.integers(0, 2))
def test_every_individual_is_kept_or_dropped(id_lists, n_geno):
    layers = layers_of(id_lists, n_geno)
    alignment = aligned(layers)
    union = set().union(*id_lists)
    in_all_geno = set.intersection(union, *map(set, id_lists[:n_geno]))
    if alignment is None:
        pairs = [(g, o) for g in id_lists[:n_geno] for o in id_lists]
        assert not in_all_geno or any(not set(g) & set(o) for g, o in pairs)
        return
    kept, dropped = set(alignment.individuals), set(alignment.dropped.index)
    assert kept == in_all_geno and kept | dropped == union and not kept & dropped
    assert set(alignment.presence.index) == union
    for name, ids in zip(layers, id_lists, strict=True):
        assert set(alignment.presence.index[alignment.presence[name]]) == set(ids)
    first = id_lists[0]
    if n_geno:
        assert alignment.individuals.tolist() == [i for i in first if i in kept]


@given(st.lists(IDS, min_size=1, max_size=4), st.integers(0, 2), st.data())
def test_order_of_rows_changes_only_the_order(id_lists, n_geno, data):
    shuffled = [data.draw(st.permutations(ids)) for ids in id_lists]
    one, two = aligned(layers_of(id_lists, n_geno)), aligned(layers_of(shuffled, n_geno))
    assert (one is None) == (two is None)
    if one is None:
        return
    pd.testing.assert_frame_equal(one.presence.sort_index(), two.presence.sort_index())
    pd.testing.assert_series_equal(one.dropped.sort_index(), two.dropped.sort_index())
    assert set(one.individuals) == set(two.individuals)


@given(IDS, st.data())
def test_taking_individuals_follows_the_id(ids, data):
    genotypes = genotypes_of(ids)
    order = data.draw(st.permutations(ids))
    taken = genotypes.take(order)
    pd.testing.assert_frame_equal(taken.to_frame(), genotypes.to_frame().loc[order])


def test_genotype_layers_come_first_and_columns_keep_their_order():
    table = Table(pd.DataFrame({"y": [1.0, 2, 3]}, index=["z", "b", "a"]))
    alignment = align({"pheno": table, "geno": genotypes_of(["a", "b", "c"])})
    assert alignment.presence.index.tolist() == ["a", "b", "c", "z"]
    assert alignment.presence.columns.tolist() == ["pheno", "geno"]


def test_summary_in_words():
    layers = layers_of([["i1", "i2", "i3"], ["i2", "i3", "i4"], ["i2", "i9"]], 2)
    text = str(align(layers))
    assert text.splitlines() == [
        "5 individuals: 2 kept, 3 dropped; in every layer: 1.",
        "layer0: 3 individuals, 1 only here (i1).",
        "layer1: 3 individuals, 1 only here (i4).",
        "layer2: 2 individuals, 1 only here (i9).",
        "Dropped, no genotypes in 'g1.csv': 1 (i1).",
        "Dropped, no genotypes in 'g0.csv': 1 (i4).",
        "Dropped, no genotypes in 'g0.csv' and 'g1.csv': 1 (i9).",
    ]


def test_ids_without_a_match():
    layers = layers_of([["i1", "i2"], ["i3", "i4"]], 1)
    with pytest.raises(
        InputError,
        match=r"no individual of 't1\.csv' \(first IDs: i3, i4\) occurs in 'g0\.csv' "
        r"\(first IDs: i1, i2\): check the ID columns",
    ):
        align(layers)


def test_layers_that_agree_in_pairs_but_not_together():
    with pytest.raises(InputError, match="no individual is in all of"):
        align(layers_of([["i1", "i2"], ["i2", "i3"], ["i1", "i3"]], 3))


def test_no_layers():
    with pytest.raises(InputError, match="no layer"):
        align({})


def test_counts_from_zero_and_from_one_are_not_mixed():
    array = read_genotypes(np.array([[0, 2], [1, 1], [2, 0]]))
    table = Table(pd.DataFrame({"y": [1.0, 2, 3]}))
    with pytest.raises(InputError, match="'geno', an array, are numbered from 1"):
        align({"geno": array, "pheno": table})


# --- covariates -----------------------------------------------------------------------------------

PEOPLE = [f"i{k}" for k in range(24)]
PHENOTYPES = pd.DataFrame(
    {
        "y": np.random.default_rng(3).normal(size=24),
        "age": np.random.default_rng(4).integers(1, 9, 24),
        "sex": list("mf") * 12,
        "herd": list("aaaabbbbcccc") * 2,
        "year": pd.Categorical([2020, 2021, 2022] * 8, categories=[2019, 2020, 2021, 2022]),
    },
    index=PEOPLE,
)


def covariates_of(formula):
    genotypes = genotypes_of(PEOPLE)
    network = Network([Layer("geno", genotypes), Layer("pheno", PHENOTYPES)], formula)
    return network.nodes[0].covariates


def by_hand(level):
    """The column that a name such as "sex[m]:age" stands for."""
    column = np.ones(len(PHENOTYPES))
    for part in level.split(":"):
        name, _, value = part.rstrip("]").partition("[")
        values = PHENOTYPES[name]
        column *= values.astype(str) == value if value else values
    return column


@pytest.mark.parametrize(
    ("formula", "levels"),
    [
        (
            "y ~ 1 + sex*age + geno",
            {"sex": ["sex[m]"], "age": ["age"], "sex:age": ["sex[m]:age"]},
        ),
        (
            "y ~ 0 + sex + geno + herd",
            {"sex": ["sex[f]", "sex[m]"], "herd": ["herd[b]", "herd[c]"]},
        ),
        (
            "y ~ geno + sex:herd + herd",
            {
                "sex:herd": ["sex[m]:herd[a]", "sex[m]:herd[b]", "sex[m]:herd[c]"],
                "herd": ["herd[b]", "herd[c]"],
            },
        ),
        (
            "y ~ 1 + sex:herd + geno",
            {
                "sex:herd": [
                    "herd[b]",
                    "herd[c]",
                    "sex[m]:herd[a]",
                    "sex[m]:herd[b]",
                    "sex[m]:herd[c]",
                ]
            },
        ),
        ("y ~ 0 + age:sex + geno", {"age:sex": ["age:sex[f]", "age:sex[m]"]}),
        ("y ~ 1 + year + geno", {"year": ["year[2021]", "year[2022]"]}),
    ],
)
def test_covariates_of_an_equation_are_coded_together(formula, levels):
    """All columns with the intercept have full rank: no covariate says what others say."""
    found = covariates_of(formula)
    assert {c.label: list(c.levels) for c in found} == levels
    for covariate in found:
        expected = np.column_stack([by_hand(level) for level in covariate.levels])
        np.testing.assert_array_equal(covariate.design, expected)
    one = [] if "0 +" in formula else [np.ones((len(PHENOTYPES), 1))]
    together = np.hstack([*one, *(c.design for c in found)])
    assert np.linalg.matrix_rank(together) == together.shape[1]


def test_functions_of_covariates_may_hold_numbers():
    log, root, scaled = covariates_of("y ~ 1 + log(age + 1) + np.sqrt(age) + scale(age) + geno")
    age = PHENOTYPES["age"].to_numpy()
    np.testing.assert_allclose(log.design[:, 0], np.log(age + 1))
    np.testing.assert_allclose(root.design[:, 0], np.sqrt(age))
    np.testing.assert_allclose(scaled.design[:, 0], (age - age.mean()) / age.std())
    # What formulae remembers of them is not kept, so they cannot be made for others.
    assert log.products is root.products is scaled.products is None


@pytest.mark.parametrize(
    ("term", "words"),
    [
        ("lg(age)", "function 'lg' is not known; functions are log, "),
        ("log(age - 100)", r"log\(age-100\) cannot be computed for individual 'i0'"),
        ("log(sex)", r"log\(sex\) cannot be evaluated"),
        ("log(weight + 1)", "'weight' is neither a layer"),
    ],
)
def test_covariates_that_cannot_be_computed(term, words):
    with pytest.raises(InputError, match=words):
        covariates_of(f"y ~ 1 + {term} + geno")


# --- what a network is made of -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "equations", "words"),
    [
        ([("geno", "a.csv")], "y ~ 1", r"<tuple> is no layer of a network; write Layer\("),
        ("geno.csv", "y ~ 1", "is no layer"),
        ([Layer("pheno", PHENOTYPES)], ["y ~ 1", 3], "3 is no equation of a network"),
        ([Layer("pheno", Table(PHENOTYPES, "p.csv"))], "z ~ 1", r"column of pheno \(p\.csv\)"),
        (
            [Layer("y", PHENOTYPES[["age"]]), Layer("pheno", PHENOTYPES)],
            "y ~ 1",
            "no equation .*; 'y' means the layer, not the column: rename one",
        ),
        ([Layer("pheno", PHENOTYPES)], [("y ~ 1", {})], "<tuple> is no equation"),
        ([Layer("pheno", PHENOTYPES)], None, "<NoneType> is no equation"),
    ],
)
def test_what_is_no_layer_or_equation_is_refused(layers, equations, words):
    with pytest.raises(InputError, match=words):
        Network(layers, equations)


def test_the_name_of_a_layer_comes_first():
    with pytest.raises(InputError, match=r"name of a layer is <DataFrame>; write Layer\(name, "):
        Layer(PHENOTYPES, "pheno")


def test_one_layer_and_one_equation_need_no_list():
    network = Network(Layer("pheno", PHENOTYPES), "y ~ 1 + age")
    assert [e.formula for e in network.equations] == ["y ~ 1 + age"]
    assert network.individuals.tolist() == PEOPLE

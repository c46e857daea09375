"""Pedigrees: reading, inbreeding, the inverse relationship matrix and single-step, against dense A.

The dense matrix is made by the tabular method, row by row from the parents' rows.
"""

import gzip

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

import nnmm_pymc as nn
from nnmm_pymc.data.precision import Precision
from nnmm_pymc.data.single_step import genomic_matrix, single_step
from nnmm_pymc.simulation.pedigree import (
    drop_genes,
    simulate_pedigree,
    simulate_pedigree_genotypes,
)

NAN = np.nan


def tabular(pedigree):
    """Dense A of a pedigree (parents first): a_ij = (a_sj + a_dj) / 2, a_ii = 1 + a_sd / 2."""
    a = np.zeros((pedigree.n, pedigree.n))
    for i, (s, d) in enumerate(zip(pedigree.sire, pedigree.dam, strict=True)):
        for parent in (s, d):
            if parent >= 0:
                a[i, :i] += a[parent, :i] / 2
        a[:i, i] = a[i, :i]
        a[i, i] = 1 + (a[s, d] / 2 if min(s, d) >= 0 else 0)
    return a


def frame(text):
    """DataFrame of lines "individual sire dam"."""
    rows = [line.split() for line in text.strip().splitlines()]
    return pd.DataFrame(rows, columns=["individual", "sire", "dam"])


@pytest.fixture(scope="module")
def large():
    """2,000 animals, 10 generations, few sires; 3 % of the parents unknown."""
    rng = np.random.default_rng(1)
    rows = simulate_pedigree(2000, rng, generations=10, n_sires=4, n_dams=20, unknown=0.03)
    return nn.read_pedigree(rows)


# --- inbreeding and the inverse -------------------------------------------------------------------


def test_textbook_example():
    """Mrode (2014), Linear Models for the Prediction of Animal Breeding Values, example 2.1."""
    pedigree = nn.read_pedigree(frame("3 1 2\n4 1 0\n5 4 3\n6 5 2"))
    expected = [
        [1, 0, 0.5, 0.5, 0.5, 0.25],
        [0, 1, 0.5, 0, 0.25, 0.625],
        [0.5, 0.5, 1, 0.25, 0.625, 0.5625],
        [0.5, 0, 0.25, 1, 0.625, 0.3125],
        [0.5, 0.25, 0.625, 0.625, 1.125, 0.6875],
        [0.25, 0.625, 0.5625, 0.3125, 0.6875, 1.125],
    ]
    order = list("123456")
    np.testing.assert_array_equal(pedigree.relationship(order).loc[order, order], expected)
    table = pedigree.to_frame().set_index("individual").loc[order]
    assert table["inbreeding"].tolist() == [0, 0, 0, 0, 0.125, 0.125]
    assert table["generation"].tolist() == [0, 0, 1, 1, 2, 3]
    assert table.loc["6", ["sire", "dam"]].tolist() == ["5", "2"]


def test_against_the_tabular_method(large):
    a = tabular(large)
    assert (np.diag(a) > 1).mean() > 0.5  # the example is inbred
    np.testing.assert_allclose(large.inbreeding, np.diag(a) - 1, rtol=0, atol=1e-10)
    np.testing.assert_allclose(large.relationship(), a, rtol=0, atol=1e-10)
    inverse = large.inverse()
    np.testing.assert_allclose(inverse.matrix.toarray(), np.linalg.inv(a), rtol=0, atol=1e-10)
    np.testing.assert_allclose(inverse.matrix @ a, np.eye(large.n), rtol=0, atol=1e-10)
    assert large.log_determinant == pytest.approx(np.linalg.slogdet(a)[1], abs=1e-8)
    assert inverse.log_determinant == -large.log_determinant
    assert inverse.matrix.nnz < 9 * large.n
    values = np.random.default_rng(2).normal(size=(large.n, 3))
    np.testing.assert_allclose(large.times(values), a @ values, rtol=0, atol=1e-9)


@st.composite
def parents(draw):
    """Parents of up to 12 individuals, each one unknown or earlier; selfing occurs."""
    n = draw(st.integers(1, 12))
    pairs = [[draw(st.integers(-1, i - 1)) for _ in range(2)] for i in range(n)]
    return np.array(pairs).reshape(n, 2), draw(st.permutations(range(n)))


@given(parents())
@settings(deadline=None)
def test_any_pedigree_in_any_order(given_parents):
    pairs, order = given_parents
    names = np.array([*(f"x{i}" for i in range(len(pairs))), "0"])
    rows = pd.DataFrame({"id": names[:-1], "sire": names[pairs[:, 0]], "dam": names[pairs[:, 1]]})
    in_order = nn.read_pedigree(rows, monoecious=True)
    assert in_order.individuals.tolist() == names[:-1].tolist()  # sorted rows stay
    a = tabular(in_order)
    np.testing.assert_allclose(in_order.inverse().matrix @ a, np.eye(len(a)), atol=1e-10)
    np.testing.assert_allclose(in_order.inbreeding, np.diag(a) - 1, atol=1e-14)

    shuffled = nn.read_pedigree(rows.iloc[order], monoecious=True)
    assert (np.maximum(shuffled.sire, shuffled.dam) < np.arange(len(a))).all()
    at = in_order.positions(shuffled.individuals)
    np.testing.assert_allclose(shuffled.relationship(), a[np.ix_(at, at)], atol=1e-14)
    np.testing.assert_array_equal(shuffled.generation, in_order.generation[at])
    labelled = pd.DataFrame(shuffled.inverse().matrix.toarray(), shuffled.individuals)
    np.testing.assert_allclose(labelled, in_order.inverse().matrix.toarray()[np.ix_(at, at)])


def test_draws_and_density_agree_with_the_dense_normal(large):
    family = large.prune(large.individuals[-4:])
    a, rng = tabular(family), np.random.default_rng(3)
    value = family.draw(rng, variance=2.5)
    np.testing.assert_allclose(family.from_mendelian(family.mendelian_terms(value)), value)
    dense = multivariate_normal(cov=2.5 * a)
    assert family.log_density(value, 2.5) == pytest.approx(dense.logpdf(value), abs=1e-8)
    several = family.draw(rng, 3)
    each = [family.log_density(column) for column in several.T]
    np.testing.assert_allclose(family.log_density(several), each)


@pytest.mark.statistical
def test_draws_have_the_covariance():
    pedigree = nn.read_pedigree(frame("c a b\nd a b\ne c d\nf e 0"))
    a = pedigree.relationship().to_numpy()
    draws = pedigree.draw(np.random.default_rng(4), 100_000, variance=2.0)
    error = np.sqrt((np.outer(np.diag(a), np.diag(a)) + a**2) / 100_000)
    assert np.abs((draws @ draws.T / 100_000 / 2 - a) / error).max() < 4


def test_selfing():
    """F halves its distance from 1 with each generation; A has no inverse in the end."""
    chain = "\n".join(f"s{k} s{k - 1} s{k - 1}" for k in range(1, 61))
    pedigree = nn.read_pedigree(frame(chain), monoecious=True)
    np.testing.assert_allclose(1 - pedigree.inbreeding, 0.5 ** np.arange(61), atol=1e-15)
    assert np.isfinite(pedigree.draw(np.random.default_rng(1))).all()
    early = pedigree.prune(["s10"])
    np.testing.assert_allclose(early.inverse().matrix @ tabular(early), np.eye(11), atol=1e-10)
    message = (
        "DataFrame: a parent of 's40' is as good as fully inbred, so the relationship matrix has "
        "no inverse: leave out the later generations of selfing."
    )
    for ask in (pedigree.inverse, lambda: pedigree.log_determinant):
        with pytest.raises(nn.InputError) as error:
            ask()
        assert str(error.value) == message


def test_parts_of_a_pedigree(large):
    wanted = large.individuals[[1990, 30, 1500]]
    a = pd.DataFrame(tabular(large), large.individuals, large.individuals)
    pd.testing.assert_frame_equal(large.relationship(wanted), a.loc[wanted, wanted], atol=1e-10)
    part = large.prune(wanted)
    assert 3 < part.n < large.n and set(wanted) <= set(part.individuals)
    at = large.positions(part.individuals)
    np.testing.assert_allclose(part.inbreeding, large.inbreeding[at], atol=1e-14)
    # Whoever was kept has the same parents, so nobody's ancestor was left out.
    was = large.to_frame().set_index("individual").loc[part.individuals, ["sire", "dam"]]
    pd.testing.assert_frame_equal(part.to_frame().set_index("individual")[["sire", "dam"]], was)
    with pytest.raises(nn.InputError, match=r"DataFrame has no individual x \(1 of 2 unknown\)"):
        large.prune(["i1", "x"])


def test_a_pedigree_cannot_be_made_wrongly_or_changed(large):
    with pytest.raises(nn.InputError, match="dam must be an earlier position, or -1"):
        nn.Pedigree(pd.Index(["a", "b"]), np.array([-1, -1]), np.array([-1, 1]))
    with pytest.raises(nn.InputError, match="individual names occur twice: a"):
        nn.Pedigree(pd.Index(["a", "a"]), np.array([-1, -1]), np.array([-1, -1]))
    for values in (large.sire, large.inbreeding, large.mendelian_variance, large.generation):
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 1
    for values in (np.ones(2 * large.n), np.ones((1, large.n)), np.float64(1)):
        for use in (large.times, large.from_mendelian, large.mendelian_terms):
            with pytest.raises(nn.InputError, match="are not one, or one row, for each of 2000"):
                use(values)


# --- reading --------------------------------------------------------------------------------------

TEXTS = [
    "individual,sire,dam\n03,01,02\n04,01,NA\n05,04,03\n",
    "\ufeffDam;Animal;born;Sire\n02;03;7;01\n;04;8;01\n03;05;;04\n",
    "FID IID PAT MAT\nf 05 04 03\nf 04 01 0\nf 03 01 02\n",
    'ID\tFather.ID\tmother_id\n03\t01\t"02"\n04\t01\t.\n05\t04\t03\n',
    'id   father mother\n"03"  01 02\n04   01  unknown\n\n05 04   03\n',
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("zipped", [False, True])
def test_text_files(tmp_path, text, zipped):
    path = tmp_path / "ped.txt"
    path.write_bytes(gzip.compress(text.encode()) if zipped else text.encode())
    pedigree = nn.read_pedigree(path)
    table = pedigree.to_frame().set_index("individual").astype(object)
    assert sorted(pedigree.individuals) == ["01", "02", "03", "04", "05"]
    assert table.loc["03", ["sire", "dam"]].tolist() == ["01", "02"]
    assert table.loc["05", ["sire", "dam"]].tolist() == ["04", "03"]
    assert table.at["04", "sire"] == "01" and pd.isna(table.at["04", "dam"])
    assert set(pedigree.report.added) == {"01", "02"}
    assert pedigree.source == "ped.txt"


def test_names_that_passed_through_floats(tmp_path):
    """Empty cells make floats of whole numbers, in frames and in the files written from them."""
    rows = pd.DataFrame({"sire": [1, NAN, 3], "dam": [2, 2, 0.0]}, index=pd.Index([3, 4, 5]))
    rows.to_csv(tmp_path / "ped.csv", index_label="animal")
    for source in (rows, tmp_path / "ped.csv", rows.reset_index(names="id").astype(object)):
        pedigree = nn.read_pedigree(source)
        assert sorted(pedigree.individuals) == ["1", "2", "3", "4", "5"]
        assert pedigree.sire[pedigree.positions(["5"])] == pedigree.positions(["3"])
        assert pedigree.founders.tolist() == ["1", "2"]


def test_columns_and_unknown_parents_of_ones_own():
    rows = pd.DataFrame({"kid": ["c", "d"], "m": ["a", "none"], "f": ["b", "b"], "sire": [1, 2]})
    pedigree = nn.read_pedigree(rows, columns=("kid", "m", "f"), missing_values=["none"])
    assert pedigree.individuals.tolist() == ["a", "b", "c", "d"]
    assert pedigree.sire.tolist() == [-1, -1, 0, -1]
    assert pedigree.report.unused.tolist() == ["sire"]
    indexed = nn.read_pedigree(rows.set_index("kid"), columns=("kid", "m", "f"))
    assert indexed.individuals.tolist() == ["a", "none", "b", "c", "d"]
    assert nn.read_pedigree(pedigree) is pedigree


def test_what_was_read_in_words():
    rows = frame("c a b\nd a b\ne c d\nf e 0").assign(sex="m")
    pedigree = nn.read_pedigree(rows)
    assert repr(pedigree) == (
        "<Pedigree DataFrame: 6 individuals, 2 founders, generations 0 to 3, 1 inbred, mean F "
        "0.0417>"
    )
    assert str(pedigree).splitlines() == [
        "6 individuals, generations 0 to 3.",
        "Founders: 2; with one known parent: 1; sires: 3; dams: 2.",
        "Inbred: 1; mean inbreeding 0.04167, largest 0.25.",
        "4 rows, 6 individuals.",
        "Added as founders, parents without a row: 2 (a, b).",
        "Columns not used: 1 (sex).",
    ]


GROUP = "looks like a genetic group or metafounder, which is not supported: write 0 for an unknown"
GROUP += " parent, or another name if it is an individual."
BAD = [
    (
        "a 0 0\n0 a 0",
        "row 2 is about the individual '0', which means an unknown parent: give it a name, or say "
        "what is unknown with missing_values.",
    ),
    ("a a 0", "'a' is its own parent: correct the parents."),
    (
        "d 0 c\nx c 0\na 0 c\nb a x\nc b 0",
        "'c' is a sire in row 2 and a dam in row 1: correct one of them, or give monoecious=True "
        "if individuals can be both (plants).",
    ),
    (
        "d c 0\na 0 0\nb a y\nc b x\na2 c 0\nx 0 z\nz c 0",
        "'c' is its own ancestor ('c' has the parent 'x', 'x' has the parent 'z', 'z' has the "
        "parent 'c'): correct the parents.",
    ),
    ("a b b", "'b' is a sire in row 1 and a dam in row 1: correct one of them, or give "
     "monoecious=True if individuals can be both (plants)."),
    ("a 0 0\nb a -12", f"the dam '-12' in row 2 {GROUP}"),
    ("a UPG_3 0\nb a 0", f"the sire 'UPG_3' in row 1 {GROUP}"),
    ("Phantom1 0 0\nb 0 Phantom1", f"the individual 'Phantom1' in row 1 {GROUP}"),
    ("b mf2 mf2", f"the sire 'mf2' in row 1 {GROUP}"),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "message"), BAD)
def test_bad_pedigrees(rows, message, tmp_path):
    with pytest.raises(nn.InputError) as error:
        nn.read_pedigree(frame(rows))
    assert str(error.value) == f"DataFrame: {message}"
    path = tmp_path / "ped.csv"
    frame(rows).to_csv(path, index=False)
    with pytest.raises(nn.InputError) as error:
        nn.read_pedigree(path)
    assert str(error.value).startswith("ped.csv: ")


NAME_IT = "name the columns in the first line, or give columns=(individual, sire, dam)."
BAD_FILES = [
    ("1 0 0\n2 0 0\n", {}, "ped.txt: no column is called individual (id, animal, ind, ...), there "
     f"are 1, 0, 0: {NAME_IT}"),
    ("id,sire,sex\na,b,m\n", {}, "ped.txt: no column is called dam (mother, damid, motherid, "
     f"...), there are id, sire, sex: {NAME_IT}"),
    ("id,sire,father,dam\na,b,b,c\n", {}, "ped.txt: the columns sire, father could all be the "
     "sire: give columns=(individual, sire, dam)."),
    ("id,sire,dam\na,b,c\n", {"columns": ["id", "sire", "mum"]}, "ped.txt: no column is called "
     f"mum, there are id, sire, dam: {NAME_IT}"),
    ("id,sire,dam\na,b,c\n", {"columns": ["id", "sire"]}, "columns=['id', 'sire'] must be three "
     "names: individual, sire and dam."),
    ("id,sire,dam\na,b,c\n", {"columns": ["id", "sire", "sire"]}, "columns=['id', 'sire', 'sire'] "
     "must be three different names."),
    ("id,sire,dam\na,b,c\n\nb,0,a\n", {}, "ped.txt: 'a' is its own ancestor ('a' has the parent "
     "'b', 'b' has the parent 'a'): correct the parents."),
    ("id,sire,dam\na,b,c\n\nd,c,a\n", {}, "ped.txt: 'c' is a sire in line 4 and a dam in line 2: "
     "correct one of them, or give monoecious=True if individuals can be both (plants)."),
]  # fmt: skip


@pytest.mark.parametrize(("text", "options", "message"), BAD_FILES)
def test_bad_files(text, options, message, tmp_path):
    path = tmp_path / "ped.txt"
    path.write_text(text)
    with pytest.raises(nn.InputError) as error:
        nn.read_pedigree(path, **options)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id,sire,dam\na,0,0\n\na,b,0\n", r"individual ID 'a' occurs twice \(lines 2 and 4\)"),
        ("id,sire,dam\na,0,0\nNA,a,0\n", "line 3 has no individual ID"),
        ("id,sire,dam\na,b,c\n\nd,a\n", "line 4 has 2 fields where 3 belong"),
        ('id,sire,dam\na,b,"c\nd,a,c\n', "line 2: a quotation mark is not closed"),
        ("id,sire,dam\n", "there is a header but no data"),
        ("", "the file is empty"),
    ],
)
def test_bad_text(text, words, tmp_path):
    """What the readers of text and names refuse; the sentences are theirs."""
    path = tmp_path / "ped.txt"
    path.write_text(text)
    with pytest.raises(nn.InputError, match=f"^ped.txt: .*{words}"):
        nn.read_pedigree(path)


def test_an_empty_frame():
    with pytest.raises(nn.InputError) as error:
        nn.read_pedigree(frame("a 0 0").iloc[:0])
    assert str(error.value) == "DataFrame: there are no individuals."


# --- genes dropped through a pedigree -------------------------------------------------------------


@pytest.mark.statistical
def test_relationships_are_what_dropped_genes_share():
    """Twice the share of pairs of alleles that descend from one, at 3,000 independent loci."""
    rng, loci = np.random.default_rng(5), 3000
    rows = simulate_pedigree(40, rng, generations=4, n_sires=2, n_dams=3, unknown=0.05, selfing=0.1)
    a = nn.read_pedigree(rows, monoecious=True).relationship(rows["individual"]).to_numpy()
    assert (np.diag(a) > 1.2).sum() > 5
    n_base = int(rows[["sire", "dam"]].isna().to_numpy().sum())
    base = np.arange(n_base, dtype=np.int8)[:, None]
    alleles = np.hstack([drop_genes(rows, base, np.zeros(1), rng) for _ in range(loci)])
    identical = (alleles[:, None] == alleles).reshape(40, 2, 40, 2, loci)
    shared = 2 * identical.mean(axis=(1, 3))
    unrelated = a == 0
    assert unrelated.any() and (shared[unrelated] == 0).all()
    error = shared.std(axis=2)[~unrelated] / np.sqrt(loci)
    difference = np.abs(shared.mean(axis=2) - a)[~unrelated]
    # Founders share half of their alleles with themselves at every locus; 700 pairs are compared.
    assert (difference[error == 0] == 0).all() and (difference <= 4.5 * error).all()


@pytest.mark.statistical
def test_genes_are_dropped_with_one_crossover_a_morgan():
    rows = pd.DataFrame({"individual": ["a", "b"], "sire": [NAN, "a"], "dam": [NAN, NAN]})
    rows = pd.concat([rows, pd.DataFrame({"individual": [f"c{k}" for k in range(4000)]})])
    rows = rows.assign(generation=np.minimum(np.arange(len(rows)), 1))
    rows.loc[rows["generation"] == 1, "sire"] = "a"
    place = np.array([0.0, 0.1, 1.0])
    base = np.zeros((len(rows) + 1, 3), np.int8)
    base[0] = 1  # one of the two haplotypes of a
    gametes = drop_genes(rows, base, place, np.random.default_rng(6))[2::2]
    assert gametes.shape == (4001, 3) and set(np.unique(gametes)) == {0, 1}
    for end, distance in ((1, 0.1), (2, 1.0)):
        expected = (1 - np.exp(-2 * distance)) / 2  # Haldane
        error = np.sqrt(expected * (1 - expected) / 4001)
        assert abs((gametes[:, 0] != gametes[:, end]).mean() - expected) < 4 * error
    assert abs(gametes.mean() - 0.5) < 4 * np.sqrt(0.25 / 4001)


def test_simulated_pedigrees():
    rng = np.random.default_rng(7)
    rows = simulate_pedigree(1100, rng, generations=10, n_sires=3, n_dams=30, selfing=0.0)
    pedigree = nn.read_pedigree(rows)
    assert len(rows) == 1100 and len(pedigree.founders) == 100
    np.testing.assert_array_equal(pedigree.generation, rows["generation"])
    assert rows.groupby("generation")["sire"].nunique().tolist() == [0] + [3] * 10
    # Half the coancestry lost in a generation is 1 / (8 sires) + 1 / (8 dams).
    last = pedigree.inbreeding[rows["generation"] == 10].mean()
    assert 0.5 < last / (1 - (1 - 1 / 24 - 1 / 240) ** 9) < 1.5
    again = simulate_pedigree(1100, np.random.default_rng(7), n_sires=3, n_dams=30)
    pd.testing.assert_frame_equal(again, rows)
    with pytest.raises(nn.InputError, match="n_sires is 60 and n_dams 50, but half of a gene"):
        simulate_pedigree(1100, rng, n_sires=60)
    with pytest.raises(nn.InputError, match="selfing is 2; give a finite number from 0 to 1"):
        simulate_pedigree(1100, rng, n_sires=3, selfing=2)


# --- single-step ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def genotyped():
    """300 animals; 80 of the later generations have 400 markers, in another order."""
    rng = np.random.default_rng(8)
    rows = simulate_pedigree(300, rng, generations=4, n_sires=5, n_dams=20, unknown=0.02)
    markers = simulate_pedigree_genotypes(rows, 400, rng).genotypes
    chosen = rng.permutation(np.arange(120, 300))[:80]
    dosages = pd.DataFrame(markers[chosen], rows["individual"].to_numpy()[chosen]).astype(float)
    dosages.iloc[3, 7] = NAN
    return nn.read_pedigree(rows), nn.read_genotypes(dosages.add_prefix("snp"))


def joint_relationship(a, mixed, rows):
    """H of Legarra et al. (2009), dense: genotyped G, the others by regression on them."""
    others = np.setdiff1d(np.arange(len(a)), rows)
    order = np.concatenate([others, rows])
    a12, a22 = a[np.ix_(others, rows)], a[np.ix_(rows, rows)]
    regression = a12 @ np.linalg.inv(a22)
    h11 = a[np.ix_(others, others)] + regression @ (mixed - a22) @ regression.T
    h12 = regression @ mixed
    h = np.empty_like(a)
    h[np.ix_(order, order)] = np.block([[h11, h12], [h12.T, mixed]])
    return h


def test_single_step_against_its_definition(genotyped):
    pedigree, genotypes = genotyped
    found = single_step(pedigree, genotypes, blending=0.1)
    a, rows = tabular(pedigree), pedigree.positions(genotypes.individuals)
    a22 = a[np.ix_(rows, rows)]
    z = genotypes.centred()
    g = z @ z.T / genotypes.sum2pq
    np.testing.assert_allclose(genomic_matrix(genotypes)[0], g, atol=1e-12)
    means = np.array([[np.diag(g).mean(), 1], [g.mean(), 1]])
    beta, alpha = np.linalg.solve(means, [np.diag(a22).mean(), a22.mean()])
    h = joint_relationship(a, 0.9 * (alpha + beta * g) + 0.1 * a22, rows)
    np.testing.assert_allclose(found.matrix @ h, np.eye(pedigree.n), atol=1e-9)
    np.testing.assert_allclose(found.matrix.toarray(), np.linalg.inv(h), atol=1e-9)
    assert found.individuals.equals(pedigree.individuals)
    assert found.log_determinant == pytest.approx(-np.linalg.slogdet(h)[1], abs=1e-8)

    unscaled = single_step(pedigree, genotypes, blending=0.1, scaling=False)
    h = joint_relationship(a, 0.9 * g + 0.1 * a22, rows)
    np.testing.assert_allclose(unscaled.matrix @ h, np.eye(pedigree.n), atol=1e-9)


def test_single_step_with_a_matrix(genotyped):
    pedigree, genotypes = genotyped
    names = genotypes.individuals
    a22 = pedigree.relationship(names)
    same = single_step(pedigree, a22 * 3 - 1)  # scaling undoes that
    np.testing.assert_allclose(
        same.matrix.toarray(), pedigree.inverse().matrix.toarray(), atol=1e-9
    )
    g = pd.DataFrame(genomic_matrix(genotypes)[0], names, names)
    exact = single_step(pedigree, genotypes).matrix.toarray()
    from_frame = single_step(pedigree, g.iloc[::-1])
    np.testing.assert_allclose(from_frame.matrix.toarray(), exact, atol=1e-9)
    rounded = single_step(pedigree, nn.read_relationship(g))  # float32
    np.testing.assert_allclose(rounded.matrix.toarray(), exact, atol=2e-4)


def test_genomic_relationships_that_cannot_be_used(genotyped):
    pedigree, genotypes = genotyped
    names = genotypes.individuals
    g = pd.DataFrame(genomic_matrix(genotypes)[0], names, names)
    half = g.copy()
    half.iloc[0, 1] = 9.0
    cases = [
        (genotypes, {"blending": 1}, "blending=1 is not a share from 0 to less than 1."),
        (
            genotypes,
            {"blending": 0, "scaling": False},
            "DataFrame: the genomic relationship matrix is singular with blending=0; give a larger "
            "share, such as 0.05.",
        ),
        (g.rename({names[0]: "an"}), {}, "genomic relationships: 'an' is in the rows or in the "
         "columns, but not in both."),
        (half, {}, "genomic relationships: the matrix is not symmetric, or has missing values."),
        (
            g.rename({names[0]: "x"}).rename(columns={names[0]: "x"}),
            {},
            "genomic relationships: 1 of 80 genotyped individuals are not in the pedigree "
            "DataFrame (x): add them, with 0 for unknown parents.",
        ),
        (
            g.iloc[:1, :1],
            {},
            "genomic relationships: all genomic relationships are the same, so that they cannot be "
            "scaled to those of the pedigree: give at least two different individuals, or "
            "scaling=False.",
        ),
        (
            g.to_numpy(),
            {},
            "genomic relationships of type ndarray cannot be used: give genotypes "
            "(read_genotypes), a relationship (read_relationship) or a DataFrame.",
        ),
    ]  # fmt: skip
    for genomic, options, message in cases:
        with pytest.raises(nn.InputError) as error:
            single_step(pedigree, genomic, **options)
        assert str(error.value) == message


def test_a_precision_fits_its_names(large):
    found = large.inverse()
    assert repr(found).startswith("<Precision DataFrame: 2000 individuals, ")
    with pytest.raises(nn.InputError, match="a column for each of 1999 individuals, but this has"):
        Precision(found.matrix, found.individuals[1:], 0.0)

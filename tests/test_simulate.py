"""The simulator keeps its promises: shares, LD, missing patterns, connections, breeding values."""

import doctest
import sys

import numpy as np
import pandas as pd
import pytest

from nnmm_pymc.errors import InputError
from nnmm_pymc.simulation import simulate


def tables(data):
    return {k: v for k, v in vars(data).items() if isinstance(v, (pd.DataFrame, pd.Series))}


def genetic_part(data, effects):
    x = data.genotypes.to_numpy(dtype=float)
    return (x - x.mean(axis=0)) @ effects.to_numpy()


def mean_r2(genotypes, lag):
    x = genotypes.to_numpy(dtype=float)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    return np.mean(np.mean(x[:, :-lag] * x[:, lag:], axis=0) ** 2)


def test_one_seed_gives_one_result():
    options = dict(missing="cells", phenotype_missing=0.1, n_families=7, n_traits=2)
    first, again = (simulate(60, 80, 3, **options, random_seed=4) for _ in range(2))
    for name, table in tables(first).items():
        assert table.equals(getattr(again, name)), name
    other = simulate(60, 80, 3, **options, random_seed=5)
    assert not first.genotypes.equals(other.genotypes)
    assert not first.phenotypes.equals(other.phenotypes)


def test_missing_pattern_leaves_the_rest_unchanged():
    full = simulate(60, 80, 3, random_seed=4)
    holes = simulate(60, 80, 3, missing="individuals", random_seed=4)
    for name, table in tables(full).items():
        assert (name == "omics") != table.equals(getattr(holes, name)), name


@pytest.mark.parametrize("n_families", [None, 1, 20])
def test_every_marker_is_a_polymorphic_int8_dosage(n_families):
    data = simulate(100, 203, 2, n_chromosomes=4, n_families=n_families, random_seed=1)
    x = data.genotypes.to_numpy()
    assert x.dtype == np.int8 and set(np.unique(x)) == {0, 1, 2}
    frequency = x.mean(axis=0) / 2
    assert np.minimum(frequency, 1 - frequency).min() >= 0.01
    assert data.map.groupby("chromosome").size().tolist() == [51, 51, 51, 50]
    assert (data.map.groupby("chromosome")["position"].diff().dropna() > 0).all()


def test_ld_decays_with_distance_and_stops_between_chromosomes():
    data = simulate(1000, 2000, 1, n_chromosomes=2, random_seed=1)
    x = data.genotypes.iloc[:, :1000]
    near, middle, far = (mean_r2(x, lag) for lag in (1, 20, 400))
    assert near > 0.2
    assert near > 2 * middle > 4 * far
    across = mean_r2(data.genotypes, 1000)  # marker j of one chromosome with j of the other
    assert across == pytest.approx(1 / 1000, rel=0.3)  # sampling alone gives 1/n


def test_full_sibs_share_half_of_their_genome():
    data = simulate(200, 500, 1, n_families=40, random_seed=2)
    family = data.phenotypes["family"].to_numpy()
    assert pd.Series(family).value_counts().eq(5).all()
    x = data.genotypes.to_numpy(dtype=float)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    relationship = x @ x.T / x.shape[1]
    same = family[:, None] == family
    np.fill_diagonal(same, False)
    assert relationship[same].mean() == pytest.approx(0.5, abs=0.06)
    assert relationship[family[:, None] != family].mean() == pytest.approx(0, abs=0.03)


def test_omics_have_their_heritability_mean_and_unit_variance():
    h2, mean = [0.2, 0.5, 0.9, 0.0, 1.0], [0.0, 1.0, -2.0, 0.5, 0.0]
    data = simulate(3000, 200, 5, omic_h2=h2, omic_mean=mean, random_seed=3)
    genetic = genetic_part(data, data.marker_effects)
    np.testing.assert_allclose(genetic, data.omic_genetic_values, atol=1e-10)
    np.testing.assert_allclose(genetic.var(axis=0), h2, atol=1e-12)
    residual = data.omics_complete - data.omic_means - genetic
    np.testing.assert_allclose(residual.var(), data.omic_residual_variance, rtol=0.12, atol=1e-12)
    np.testing.assert_allclose(data.omics_complete.var(), 1, rtol=0.15)
    np.testing.assert_allclose(data.omics_complete.mean(), mean, atol=0.08)


def test_trait_is_the_sum_of_its_parts_with_the_shares_asked_for():
    data = simulate(
        4000, 300, 4, n_traits=2, network_r2=0.4, direct_r2=0.25, intercept=[3.0, -1.0],
        random_seed=4,
    )  # fmt: skip
    network = np.tanh(data.omics_complete.to_numpy()) @ data.weights.to_numpy()
    direct = genetic_part(data, data.direct_effects)
    residual = data.phenotypes - data.intercepts - network - direct
    np.testing.assert_allclose(network.var(axis=0), 0.4, rtol=1e-10)
    np.testing.assert_allclose(direct.var(axis=0), 0.25, rtol=1e-10)
    np.testing.assert_allclose(data.residual_variance, 0.35, rtol=1e-10)
    np.testing.assert_allclose(residual.var(), 0.35, rtol=0.1)
    np.testing.assert_allclose(residual.mean(), 0, atol=0.04)
    for part in (network, direct):
        for t in range(2):
            assert abs(np.corrcoef(part[:, t], residual.iloc[:, t])[0, 1]) < 0.07


def test_given_weights_are_kept_and_the_residual_follows():
    w = [2.0, -1.0, 0.0]
    data = simulate(2000, 100, 3, weights=w, network_r2=0.8, random_seed=5)
    assert data.weights["y"].tolist() == w
    network = np.tanh(data.omics_complete.to_numpy()) @ np.array(w)
    assert data.residual_variance["y"] == pytest.approx(network.var() * 0.2 / 0.8)
    assert network.var() / data.phenotypes["y"].var() == pytest.approx(0.8, abs=0.05)
    table = pd.DataFrame({"y1": w, "y2": w[::-1]}, index=data.weights.index)
    both = simulate(50, 100, 3, n_traits=2, weights=table, random_seed=5)
    pd.testing.assert_frame_equal(both.weights, table)


@pytest.mark.parametrize("pattern", ["cells", "individuals"])
def test_missing_omics_have_the_pattern_and_fraction(pattern):
    data = simulate(200, 50, 4, missing=pattern, missing_fraction=0.3, random_seed=6)
    hidden = data.omics.isna()
    assert hidden.to_numpy().mean() == pytest.approx(0.3)
    assert data.omics_complete.notna().all(axis=None)
    assert data.omics[~hidden].equals(data.omics_complete[~hidden])
    whole_rows = (hidden.any(axis=1) == hidden.all(axis=1)).all()
    assert whole_rows == (pattern == "individuals")


def test_latent_omics_and_missing_traits():
    data = simulate(200, 50, 4, missing="all", phenotype_missing=0.25, n_traits=2, random_seed=6)
    assert data.omics.isna().all(axis=None)
    assert data.phenotypes.isna().to_numpy().mean() == 0.25
    assert simulate(50, 50, random_seed=6).omics.notna().all(axis=None)


def test_connections_by_name_are_respected():
    connections = {"omic1": ["snp9", "snp2", "snp4"], "omic2": ["snp30"]}
    data = simulate(50, 40, 2, connections=connections, n_causal=1.0, random_seed=7)
    for omic, markers in connections.items():
        effects = data.marker_effects[omic]
        assert set(effects.index[effects != 0]) == set(markers)
    assert data.connections == {"omic1": ["snp2", "snp4", "snp9"], "omic2": ["snp30"]}


def test_disjoint_sets_are_dealt_to_the_omics_in_turn():
    data = simulate(50, 41, 3, connections=2, n_causal=5, random_seed=7)
    assert data.connections["omic1"] == data.connections["omic3"]
    both = data.connections["omic1"] + data.connections["omic2"]
    assert both == list(data.genotypes.columns)
    for omic, markers in data.connections.items():
        causal = data.marker_effects.index[data.marker_effects[omic] != 0]
        assert len(causal) == 5 and set(causal) <= set(markers)


def test_number_of_causal_markers_as_count_or_fraction():
    data = simulate(50, 40, 2, n_causal=[3, 0.5], n_direct=0.25, direct_r2=0.3, random_seed=8)
    assert (data.marker_effects != 0).sum().tolist() == [3, 20]
    assert (data.direct_effects != 0).sum().tolist() == [10]


def relu(z):
    return np.minimum(z, 1.0) ** 2  # the name of a built-in activation, another function


@pytest.mark.parametrize(
    "activation", ["identity", "tanh", "sigmoid", "relu", "leaky_relu", np.sin, relu]
)
def test_breeding_value_is_the_monte_carlo_expectation(activation):
    g = {
        "identity": lambda z: z,
        "tanh": np.tanh,
        "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
        "relu": lambda z: np.where(z > 0, z, 0),
        "leaky_relu": lambda z: np.where(z > 0, z, 0.01 * z),
    }.get(activation, activation)
    data = simulate(
        12, 60, 3, activation=activation, omic_h2=[0.1, 0.5, 1.0], omic_mean=[0.5, -1.0, 0.2],
        network_r2=0.5, direct_r2=0.2, intercept=4.0, random_seed=9,
    )  # fmt: skip
    mean = data.omic_means.to_numpy() + genetic_part(data, data.marker_effects)
    sd = np.sqrt(data.omic_residual_variance.to_numpy())
    draws = np.random.default_rng(0).standard_normal((100_000, 1, 3))
    merit = g(mean + sd * draws) @ data.weights.to_numpy()[:, 0]
    expected = 4.0 + merit.mean(axis=0) + genetic_part(data, data.direct_effects)[:, 0]
    error = merit.std(axis=0) / np.sqrt(len(draws))
    assert (np.abs(data.breeding_values["y"] - expected) < 5 * error).all()


def test_breeding_value_of_deterministic_omics_is_the_trait_without_residual():
    data = simulate(50, 60, 3, omic_h2=1.0, network_r2=1.0, activation="relu", random_seed=9)
    assert data.residual_variance["y"] == 0
    np.testing.assert_allclose(data.breeding_values, data.phenotypes, atol=1e-10)


def test_csv_files_hold_the_same_tables(tmp_path):
    data = simulate(30, 40, 3, missing="cells", phenotype_missing=0.2, n_families=5, random_seed=1)
    data.to_csv(tmp_path / "new" / "folder")
    written = {path.name for path in (tmp_path / "new" / "folder").iterdir()}
    for name, table in tables(data).items():
        file = (
            f"{name}.csv" if name in ("genotypes", "omics", "phenotypes") else f"truth_{name}.csv"
        )
        written.remove(file)
        path = tmp_path / "new" / "folder" / file
        table = table.to_frame(name) if isinstance(table, pd.Series) else table
        back = pd.read_csv(path, index_col="ID")
        pd.testing.assert_frame_equal(
            back, table, check_dtype=False, check_names=False, check_exact=True
        )
        assert path.read_text().startswith("ID,")
    assert not written
    assert ",NA" in (tmp_path / "new" / "folder" / "omics.csv").read_text()


def test_folder_that_is_a_file(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match="taken cannot be made"):
        simulate(20, 20, 1, random_seed=1).to_csv(tmp_path / "taken")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(network_r2=0.7, direct_r2=0.4), "sum to more than 1"),
        (dict(network_r2=-0.1), "network_r2 is -0.1"),
        (dict(direct_r2=np.nan), "direct_r2 is nan"),
        (dict(omic_h2=1.2), "omic_h2 is 1.2; give a finite number from 0 to 1"),
        (dict(omic_h2=[0.5, 0.5]), "omic_h2 has 2 values; give one, or 3"),
        (dict(omic_h2="high"), "omic_h2 is 'high'"),
        (dict(missing="some"), "missing is 'some'"),
        (dict(missing="cells", missing_fraction=1.0), "missing_fraction is 1"),
        (dict(missing_fraction=-0.2), "missing_fraction is -0.2"),
        (dict(phenotype_missing=1), "phenotype_missing is 1"),
        (dict(activation="softmax"), "activation is 'softmax'; give identity, tanh"),
        (dict(activation=np.sum), "activation sum does not return one finite number"),
        (dict(activation=lambda z: z * np.inf), "finite number"),
        (dict(n_markers=4), "n_markers is 4; give a whole number of at least 5"),
        (dict(n_markers=20.0), "n_markers is 20.0"),
        (dict(n_individuals=3), "n_individuals is 3; give a whole number of at least 10"),
        (dict(n_omics=0), "n_omics is 0"),
        (dict(n_traits=True), "n_traits is True"),
        (dict(n_families=31), "n_families is 31, more than the 30 individuals"),
        (dict(n_founders=1), "n_founders is 1"),
        (dict(n_causal=0), "n_causal is 0; give a whole number from 1 to 40"),
        (dict(n_causal=41), "n_causal is 41"),
        (dict(n_direct=1.5), "n_direct is 1.5"),
        (dict(connections={"omic1": ["snp1"]}), "one entry for each of omic1, omic2, omic3"),
        (dict(connections=dict(omic1=["snp1"], omic2=["snp99"], omic3=["snp1"])),
         "connections of omic2 name unknown marker 'snp99'"),
        (dict(connections=dict(omic1=[], omic2=["snp1"], omic3=["snp1"])),
         "connections of omic1 name no marker"),
        (dict(connections=41), "more sets than the 40 markers"),
        (dict(weights=[1.0, 2.0]), "weights has 2 values; give one, or 3"),
        (dict(weights=[[1.0], [2.0]]), "one row for each of 3 omics"),
        (dict(weights=[[1.0], [2.0, 3.0], [4.0]]), "weights"),
        (dict(weights=pd.Series([1.0, 2.0], index=["omic2", "omic1"])), "in this order"),
        (dict(weights=[0.0, 0.0, 0.0]), "network of trait y does not vary"),
        (dict(weights=[1.0, 0.0, 0.0], network_r2=0), "weights are not zero but network_r2 is 0"),
        (dict(activation="relu", omic_mean=-100.0), "network of trait y does not vary"),
        (dict(random_seed=-1), "random_seed is -1"),
        (dict(random_seed="one"), "random_seed is 'one'"),
    ],
)  # fmt: skip
def test_bad_arguments_get_a_sentence(options, message):
    arguments = dict(n_individuals=30, n_markers=40, n_omics=3, random_seed=1) | options
    with pytest.raises(InputError, match=message) as caught:
        simulate(**arguments)
    assert str(caught.value).endswith(".")


def test_examples_in_the_docstrings():
    result = doctest.testmod(sys.modules[simulate.__module__])
    assert result.attempted > 0 and result.failed == 0

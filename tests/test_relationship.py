"""Relationship matrices through their eigenvectors, given or made from genotypes."""

import numpy as np
import pandas as pd
import pytest

import nnmm_pymc as nn
from nnmm_pymc.data import genomic_relationship

IDS = ["a", "b", "c", "d"]
KINSHIP = np.array(
    [[1.0, 0.5, 0.25, 0.0], [0.5, 1.1, 0.3, 0.0], [0.25, 0.3, 1.0, 0.1], [0.0, 0.0, 0.1, 0.9]]
)


def frame(matrix=KINSHIP, rows=IDS, columns=IDS):
    return pd.DataFrame(matrix, rows, columns)


def test_eigenvectors_make_the_matrix_again():
    found = nn.read_relationship(frame())
    z = found.centred()
    np.testing.assert_allclose(z @ z.T, KINSHIP, atol=1e-6)
    assert list(found.individuals) == IDS


def test_columns_come_in_the_order_of_the_rows(tmp_path):
    shuffled = frame().loc[:, ["c", "a", "d", "b"]]
    shuffled.to_csv(tmp_path / "kinship.csv")
    for data in (shuffled, tmp_path / "kinship.csv"):
        z = nn.read_relationship(data).centred()
        np.testing.assert_allclose(z @ z.T, KINSHIP, atol=1e-6)
    z = nn.read_relationship(KINSHIP, individuals=IDS).centred()
    np.testing.assert_allclose(z @ z.T, KINSHIP, atol=1e-6)


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (frame().iloc[:, :3], "'d' is in only one"),
        (frame(columns=["a", "b", "c", "x"]), "'d' is in only one"),
        (frame(KINSHIP + np.triu(KINSHIP, 1)), "not symmetric at 'a', 'b'"),
        (frame(KINSHIP - 0.9 * np.eye(4)), "negative eigenvalue"),
        (frame(np.where(np.eye(4) > 0, np.nan, KINSHIP)), "row 'a' has a missing value"),
    ],
)
def test_what_is_no_relationship_matrix_is_refused(matrix, words):
    with pytest.raises(nn.InputError, match=words):
        nn.read_relationship(matrix)


def test_marker_effects_give_the_genetic_values_of_the_eigenvectors():
    """Z a = U D^(1/2) b for every prior draw that is added."""
    data = nn.simulate(30, 50, 1, random_seed=1)
    genotypes = nn.read_genotypes(data.genotypes)
    own = genomic_relationship(genotypes)
    z, eigenvectors = genotypes.centred(), own.eigenvectors.centred()
    np.testing.assert_allclose(
        eigenvectors @ eigenvectors.T, z @ z.T / own.total_variance, atol=1e-5
    )
    rng = np.random.default_rng(1)
    b = rng.normal(size=(eigenvectors.shape[1], 2))
    for noise in (np.zeros((50, 2)), rng.normal(size=(50, 2))):
        a = own.marker_effects(b, noise)
        np.testing.assert_allclose(z @ a, eigenvectors @ b, atol=2e-4)
    # What the individuals say nothing about keeps the variance of its prior.
    draws = np.array(
        [own.marker_effects(0 * b, rng.normal(size=(50, 2)))[:, 0] for _ in range(4000)]
    )
    loadings = own.loadings.astype(float)
    expected = np.eye(50) - loadings @ loadings.T
    assert np.abs(np.cov(draws.T) - expected).max() < 6 / np.sqrt(4000)


def test_individuals_without_phenotypes_get_breeding_values_from_their_relatives():
    found = nn.read_relationship(frame())
    y = pd.DataFrame({"y": [2.0, 1.5, -1.0]}, ["a", "b", "d"])
    network = nn.Network(
        [nn.Layer("kin", found), nn.Layer("pheno", y)],
        [
            nn.Equation(
                "y ~ 0 + kin",
                priors={"kin": nn.GBLUP(genetic_variance=2.0), "residual_variance": 0.5},
            )
        ],
    )
    result = network.fit(
        draws=4000, tune=100, chains=2, random_seed=1, progressbar=False, quiet=True
    )
    table = nn.breeding_values(result).set_index("individual")["ebv"]
    seen = [0, 1, 3]
    gain = KINSHIP[:, seen] @ np.linalg.inv(KINSHIP[np.ix_(seen, seen)] + np.eye(3) * 0.25)
    # 1,000 thinned draws of a posterior sd of about 1.
    np.testing.assert_allclose(table[IDS], gain @ y["y"].to_numpy(), atol=0.15)


def test_more_genetic_variances_than_are_kept_by_default(monkeypatch):
    """Of a thousand omics marker effects need the draws of the genetic variances."""
    monkeypatch.setattr("nnmm_pymc.record.LARGE", 2)
    data = nn.simulate(40, 12, 4, random_seed=1)
    network = nn.Network(
        [nn.Layer("geno", data.genotypes), nn.Layer("omics", data.omics)],
        nn.Equation("omics ~ 1 + geno", priors={"geno": nn.GBLUP()}),
    )
    result = network.fit(draws=10, tune=10, chains=1, progressbar=False, quiet=True)
    assert set(nn.marker_effects(result)["marker"]) == set(data.genotypes.columns)

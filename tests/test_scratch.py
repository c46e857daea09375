"""Genotypes on disk: the same answers as in memory, and nothing left behind."""

import numpy as np
import pandas as pd
import pytest
from bed_reader import to_bed

import nnmm_pymc as nn
from nnmm_pymc.io import plink


@pytest.fixture(scope="module")
def panel(tmp_path_factory):
    """A .bed file of 300 individuals and 70 markers, two of them constant, and a trait of 290."""
    folder = tmp_path_factory.mktemp("panel")
    rng = np.random.default_rng(3)
    dosages = rng.binomial(2, 0.3, (300, 70)).astype(float)
    dosages[:, [4, 60]] = 1.0
    dosages[rng.random(dosages.shape) < 0.02] = np.nan
    ids = [f"i{i}" for i in range(300)]
    to_bed(folder / "panel.bed", dosages, properties={"iid": ids})
    value = np.nan_to_num(dosages[:, :5]).sum(axis=1) + rng.normal(size=300)
    return folder / "panel.bed", pd.DataFrame({"y": value}, ids).iloc[rng.permutation(290)]


def draws(genotypes, y, prior):
    layers = [nn.Layer("geno", genotypes), nn.Layer("pheno", y)]
    network = nn.Network(layers, [nn.Equation("y ~ 1 + geno", priors={"geno": prior})])
    fit = network.fit(draws=30, tune=10, chains=2, random_seed=1, quiet=True, progressbar=False)
    return fit["effect_draws"]["y_geno"].to_numpy()


@pytest.mark.parametrize("prior", [nn.BayesC(), nn.GBLUP()], ids=repr)
def test_a_fit_is_the_same(panel, tmp_path, prior):
    path, y = panel
    inside, outside = nn.read_genotypes(path), nn.read_genotypes(path, scratch=tmp_path)
    assert "on disk" in repr(outside) and outside.p == 68
    assert isinstance(outside.dosages.base, np.memmap)
    assert not any(tmp_path.iterdir())
    np.testing.assert_array_equal(inside.dosages, outside.dosages)
    np.testing.assert_array_equal(draws(inside, y, prior), draws(outside, y, prior))


def test_what_is_chosen_is_on_disk_too(panel, tmp_path):
    path, y = panel
    whole = nn.read_genotypes(path)
    kept = nn.read_genotypes(path, scratch=tmp_path, maf=0.3)
    assert kept.p < whole.p
    some = kept.take(y.index).take_markers(kept.markers[::-2])
    wanted = whole.take(y.index).take_markers(some.markers)
    np.testing.assert_array_equal(some.dosages, wanted.dosages)
    for array in (some.dosages, some.packed.dosages):
        assert not array.size or isinstance(array.base, np.memmap)
    np.testing.assert_array_equal(some.packed.missing, wanted.packed.missing)


def test_a_panel_that_does_not_fit_is_refused_with_the_way_out(panel, tmp_path, monkeypatch):
    monkeypatch.setattr(plink, "available_bytes", lambda: 1000)
    with pytest.raises(nn.InputError, match=r"300 individuals and 70 markers.*scratch="):
        nn.read_genotypes(panel[0])
    assert nn.read_genotypes(panel[0], scratch=tmp_path).p == 68


def test_a_folder_that_cannot_be_used_is_refused(panel, tmp_path):
    with pytest.raises(nn.InputError, match="no folder that may be written"):
        nn.read_genotypes(panel[0], scratch=tmp_path / "absent")
    with pytest.raises(nn.InputError, match=r"keeps the dosages of a \.bed file"):
        nn.read_genotypes(pd.DataFrame({"m": [0, 1]}, ["a", "b"]), scratch=tmp_path)


def test_draws_kept_on_disk_are_those_kept_in_memory(panel, tmp_path):
    data = nn.simulate(1200, 30, 2, random_seed=1, missing="individuals")
    layers = [nn.Layer("geno", data.genotypes), nn.Layer("omics", data.omics)]
    layers.append(nn.Layer("pheno", data.phenotypes))
    network = nn.Network(layers, ["omics ~ 1 + geno", "y ~ 1 + tanh(omics)"])
    value = "omics_geno_value"
    short = {"draws": 12, "tune": 3, "chains": 2, "random_seed": 1, "quiet": True}
    short |= {"progressbar": False, "keep": [value]}
    inside, outside = network.fit(**short), network.fit(**short, scratch=tmp_path)
    assert not any(tmp_path.iterdir())
    kept = outside["posterior"][value]
    assert kept.dtype == np.float32 and kept.sizes == inside["posterior"][value].sizes
    np.testing.assert_array_equal(kept, inside["posterior"][value].astype(np.float32))
    np.testing.assert_array_equal(outside["posterior"]["y_omics"], inside["posterior"]["y_omics"])
    nn.save(outside, tmp_path)
    again = nn.load(tmp_path, in_memory=False)
    assert not again["posterior"][value].variable._in_memory
    np.testing.assert_array_equal(again["posterior"][value], kept)

"""Data at the edge of what makes sense: a right answer or one clear sentence, never a NaN."""

import functools

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import nnmm_pymc as nn


def tables(n=40, p=5, seed=1):
    """Dosages, two omics made by the first markers, and a trait made by both omics."""
    rng = np.random.default_rng(seed)
    dosages = rng.binomial(2, 0.4, (n, p)).astype(float)
    omics = dosages[:, [0, min(1, p - 1)]] * [1.0, -1.0] + rng.normal(0.0, 0.7, (n, 2))
    trait = omics @ [0.8, -0.5] + rng.normal(0.0, 0.5, n)
    ids = [f"i{i}" for i in range(n)]
    return (
        pd.DataFrame(dosages, ids, [f"m{j}" for j in range(p)]),
        pd.DataFrame(omics, ids, ["e0", "e1"]),
        pd.DataFrame({"y": trait}, ids),
    )


def network(dosages, omics, traits, prior=None, act="omics"):
    layers = [nn.Layer("geno", dosages), nn.Layer("pheno", traits)]
    priors = {"geno": prior or nn.BayesC()}
    if omics is None:
        return nn.Network(layers, [nn.Equation("y ~ 1 + geno", priors=priors)])
    layers.insert(1, nn.Layer("omics", omics))
    return nn.Network(layers, [nn.Equation("omics ~ 1 + geno", priors=priors), f"y ~ 1 + {act}"])


def fit(model, draws=30):
    """A result of which every number is finite, and so are the tables made from it."""
    options = {"draws": draws, "tune": 30 + draws // 5, "chains": 2, "cores": 1}
    result = model.fit(**options, random_seed=1, progressbar=False, quiet=True)
    for group in result.groups:
        for name, values in result[group].dataset.items():
            if values.dtype.kind == "f":
                assert np.isfinite(values).all(), f"{group}/{name}"
    for table in (nn.breeding_values(result), nn.marker_effects(result), nn.heritability(result)):
        assert np.isfinite(table.select_dtypes(float)).all(axis=None)
    return result


def two_individuals():
    dosages, omics, traits = tables(n=2)
    dosages.iloc[1] = 2.0 - dosages.iloc[0]
    return dosages, omics, traits


def one_phenotype():
    dosages, omics, traits = tables()
    traits.iloc[1:] = np.nan
    return dosages, omics, traits


def hardly_any_variance():
    dosages, omics, traits = tables()
    return dosages, omics, 3.0 + 1e-9 * traits


CASES = {
    "many markers": lambda: tables(n=10, p=400),
    "many individuals": lambda: tables(n=1500, p=2),
    "one marker": lambda: tables(p=1),
    "two individuals": two_individuals,
    "one phenotype": one_phenotype,
    "hardly any variance": hardly_any_variance,
}


@pytest.mark.parametrize("case", CASES)
def test_results_are_finite(case):
    dosages, omics, traits = CASES[case]()
    model = network(dosages, omics, traits, act="tanh(omics)")
    predicted = model.predict(fit(model), dosages)
    assert np.isfinite(predicted.select_dtypes(float)).all(axis=None)


def test_what_cannot_be_fitted_is_said():
    dosages, omics, traits = tables()
    with pytest.raises(nn.InputError, match="no marker is left of 5: 5 no variance"):
        network(dosages.iloc[:1], omics.iloc[:1], traits.iloc[:1])
    with pytest.raises(nn.InputError, match="'y' has no variance"):
        network(dosages, omics, 0.0 * traits)
    with pytest.raises(nn.InputError, match="'y' has no value in any individual"):
        network(dosages, omics, np.nan * traits)
    with pytest.raises(nn.InputError, match="No individual of the model has a value"):
        network(dosages, None, np.nan * traits)


def test_a_code_of_missing_values_is_warned_of():
    dosages, omics, traits = tables()
    traits = traits.copy()
    traits.iloc[:2] = -999.0
    with pytest.warns(UserWarning, match="2 values of 'y' are -999, far from all others"):
        network(dosages, omics, traits)


@pytest.mark.statistical
def test_a_marker_twice_with_half_the_variance_is_the_same():
    dosages, _, traits = tables()
    values = []
    for frame, variance in [
        (dosages, 0.2),
        (pd.concat([dosages, (2.0 - dosages).add_suffix("_flipped")], axis=1), 0.1),
    ]:
        result = fit(network(frame, None, traits, nn.RRBLUP(slab_variance=variance)), draws=600)
        values.append(nn.breeding_values(result).set_index("individual"))
    once, twice = values
    # Draws of this little problem are as good as independent.
    error = np.hypot(once["sd"], twice["sd"]) / np.sqrt(1200)
    assert ((once["ebv"] - twice["ebv"]).abs() < 4.0 * error).all()


def test_an_omic_that_determines_the_trait():
    dosages, omics, traits = tables()
    traits["y"] = 2.0 * omics["e0"] - 1.0
    result = fit(network(dosages, omics, traits), draws=200)
    weights = nn.weights(result).set_index("omic")
    assert abs(weights.at["e0", "mean"] - 2.0) < 4.0 * weights.at["e0", "sd"] < 0.8
    assert float(result["posterior"]["y_residual_variance"].mean()) < 0.1 * traits["y"].var()


def test_a_marker_without_variance_in_the_part_that_is_fitted():
    dosages, omics, traits = tables()
    dosages.iloc[:30, 2] = 0.0
    model = network(dosages.iloc[:30], omics, traits)
    result = fit(model)
    assert "m2" not in set(nn.marker_effects(result)["marker"])
    new = dosages.iloc[30:]
    whole, other = (model.predict(result, d) for d in (new, new.assign(m2=1.0)))
    pd.testing.assert_frame_equal(whole, other)
    assert np.isfinite(whole.select_dtypes(float)).all(axis=None)


@functools.cache
def means(unit):
    """Posterior means in that unit, of a network whose missing omics are drawn exactly."""
    dosages, omics, traits = tables()
    omics.iloc[:12] = np.nan
    model = network(dosages, unit * omics, unit * traits)
    posterior = fit(model, draws=100)["posterior"].dataset.mean(("chain", "draw"))
    units = {"y_omics": 1.0, "y_Intercept": unit, "omics_Intercept": unit}
    units |= {"y_residual_variance": unit**2}
    return np.concatenate([np.ravel(posterior[name] / u) for name, u in units.items()])


@pytest.mark.parametrize("unit", [1e-28, 1e-12, 1e12, 1e28])
def test_the_unit_does_not_matter(unit):
    # The same random numbers: what differs is rounding.
    np.testing.assert_allclose(means(unit), means(1.0), rtol=0.0, atol=0.02)


@pytest.mark.parametrize("unit", [1e-160, 1e-40, 1e40, 1e160])
def test_a_unit_without_squares_is_refused(unit):
    dosages, omics, traits = tables()
    with pytest.raises(nn.InputError, match=r"Column 'y' has values of up to .*in other units"):
        fit(network(dosages, omics, unit * traits))


def test_small_variances_of_two_groups_are_kept_apart():
    dosages, _, traits = tables()
    groups = {m: "a" if m in ("m0", "m1") else "b" for m in dosages}
    prior = nn.MarkerGroups(groups, {"a": nn.RRBLUP(), "b": nn.BayesC()})
    model = network(dosages, None, 1e-12 * traits, prior)
    assert nn.check_conditionals(model, points=2)["ok"].all()


def test_a_result_that_lost_a_part_is_refused(tmp_path):
    draws = np.arange(6.0).reshape(2, 3) + 1.0
    path = nn.save(xr.DataTree(xr.Dataset({"x": (["chain", "draw"], draws)})), tmp_path)
    whole = path.read_bytes()
    # Its name in the directory of the archive, where Zarr looks it up.
    at = whole.rindex(b"/c/")
    path.write_bytes(whole[:at] + b"/d/" + whole[at + 3 :])
    with pytest.raises(nn.InputError, match="the file is damaged"):
        nn.load(tmp_path)

"""What the screen says of chains, priors and data, and that it says nothing of sound ones."""

import json

import numpy as np
import pymc as pm
import pytest
import xarray as xr

import nnmm_pymc as nn
from nnmm_pymc.screen import predictive_checks, prior_dominated

CHAINS, DRAWS = 4, 500


def run(**spoilt):
    """Independent draws, energies and moments, some of them replaced."""
    rng = np.random.default_rng(1)
    draws = rng.normal(size=(CHAINS, DRAWS))
    effects = rng.normal(size=(CHAINS, 2, DRAWS // 2, 3))
    parts = {
        "weight": draws,
        "energy": rng.normal(size=(CHAINS, DRAWS)),
        "diverging": np.zeros((CHAINS, DRAWS), bool),
        "reached_max_treedepth": np.zeros((CHAINS, DRAWS), bool),
        "effects": effects,
        "r_hat": np.full((5, 1), 1.01),
    } | spoilt
    by_draw, by_half = ["chain", "draw"], ["chain", "half", "marker"]
    moments = {
        "effects_mean": (by_half, parts["effects"].mean(axis=2)),
        "effects_variance": (by_half, parts["effects"].var(axis=2, ddof=1)),
        "effects_included": (by_half, np.ones((CHAINS, 2, 3))),
        "count": (["half"], [DRAWS // 2, DRAWS // 2]),
    }
    stats = {k: (by_draw, parts[k]) for k in ("energy", "diverging", "reached_max_treedepth")}
    groups = {
        "posterior": xr.Dataset({"weight": (by_draw, parts["weight"])}),
        "sample_stats": xr.Dataset(stats),
        "moments": xr.Dataset(moments, {"marker": ["m0", "m1", "m2"]}),
        "genetic_values": xr.Dataset({"y_r_hat": (["individual", "trait"], parts["r_hat"])}),
    }
    return xr.DataTree.from_dict(groups)


def apart(shape, by):
    """Chains around places of their own."""
    rng = np.random.default_rng(2)
    return rng.normal(size=shape) + by * np.arange(CHAINS).reshape(-1, *[1] * (len(shape) - 1))


def test_nothing_is_said_against_sound_chains():
    found = nn.diagnose(run())
    assert found.problems == []
    assert {"weight", "y (breeding values)", "effects (markers)"} == set(found.table.index)


SPOILT = {
    "R-hat of weight is above 1.01": {"weight": apart((CHAINS, DRAWS), 1.0)},
    "Few effective draws: weight": {"weight": np.cumsum(apart((CHAINS, DRAWS), 0.0), axis=1)},
    "genetic values of y": {"r_hat": np.full((5, 1), 1.2)},
    "single markers of effects": {"effects": apart((CHAINS, 2, DRAWS // 2, 3), 1.0)},
    "4 draws of NUTS diverged": {"diverging": np.eye(CHAINS, DRAWS, dtype=bool)},
    "largest tree depth": {"reached_max_treedepth": np.ones((CHAINS, DRAWS), bool)},
    "BFMI": {"energy": np.cumsum(apart((CHAINS, DRAWS), 0.0), axis=1)},
}


@pytest.mark.parametrize("words", SPOILT)
def test_what_is_wrong_with_chains_is_said(words):
    problems = "\n".join(nn.diagnose(run(**SPOILT[words])).problems)
    assert words in problems


@pytest.mark.parametrize("n_draws", [1, 2, 3])
def test_a_few_draws_are_not_believed(n_draws):
    """R-hat and effective draws cannot be computed from them."""
    weight = np.random.default_rng(1).normal(size=(CHAINS, n_draws))
    (disagree, few) = nn.diagnose(run(weight=weight)).problems
    assert "R-hat of weight" in disagree
    assert "Few effective draws: weight" in few


def test_chains_that_hold_other_latent_nodes_are_told_apart():
    nodes = [
        {"name": "hidden", "latent": True, "parents": [], "functions": []},
        {
            "name": "y",
            "latent": False,
            "parents": [{"node": "hidden", "weights": "weight"}],
            "functions": [],
        },
    ]
    for by, told in ((0.0, False), (1.0, True)):
        result = run(weight=apart((CHAINS, DRAWS), by))
        result.attrs["network"] = json.dumps(nodes)
        found = nn.diagnose(result)
        assert found.problems == []
        assert ("different solutions" in found.note) == told


def test_replicates_look_like_data_that_were_drawn_from_the_network(network, fitted):
    table = predictive_checks(network, fitted)
    assert set(table["node"]) == {"omics", "y"}
    assert (table["p"] > 0.005).all()


def test_data_that_do_not_look_like_replicates_are_named(network, fitted, simulation):
    bent = simulation.phenotypes.copy()
    bent["y"] = np.exp(2.0 * (bent["y"] - bent["y"].mean()) / bent["y"].std())
    layers = [layer for layer in network.layers if layer.name != "pheno"]
    other = nn.Network([*layers, nn.Layer("pheno", bent)], network.equations)
    problems = "\n".join(nn.diagnose(fitted, other).problems)
    assert "'y' does not look like draws from the fit: " in problems
    assert "'omic1' does not" not in problems


def test_a_posterior_that_is_the_prior_is_named(network, fitted):
    prior = pm.draw(network.model["omics_geno_inclusion"], 400, random_seed=3)
    posterior = fitted["posterior"].to_dataset()
    own = posterior["omics_geno_inclusion"]
    posterior["omics_geno_inclusion"] = own.copy(data=prior.reshape(own.shape))
    found = prior_dominated(network, xr.DataTree.from_dict({"posterior": posterior}))
    assert "omics_geno_inclusion" in found
    assert "y_residual_variance" not in found

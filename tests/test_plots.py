"""Plots: what is drawn, from results built by hand (no fit)."""

from __future__ import annotations

import json
from dataclasses import asdict

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from nnmm_pymc.description import NodeDescription, ParentDescription
from nnmm_pymc.errors import InputError
from nnmm_pymc.plots import plot_fit, plot_network, plot_pip, plot_predicted

CHAINS, DRAWS, MARKERS = 2, 20, 30
PEOPLE = [f"i{k}" for k in range(12)]


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def make_node(name, columns, parents=(), markers=True, terminal=False, layer=None):
    return NodeDescription(
        name=name,
        layer=layer or name,
        columns=list(columns),
        dim=f"{name}_column",
        terminal=terminal,
        intercept=True,
        formula=f"{name} ~ 1",
        residual_variance=f"{name}_residual_variance",
        markers={f"{name}_geno": "geno"} if markers else {},
        parents=list(parents),
    )


def make_parent(child, parent, n, mask=None):
    scaling = ([0.0] * n, [1.0] * n)
    return ParentDescription(parent, list(range(n)), f"{child}_{parent}", "tanh", *scaling, mask)


def make_result(nodes, weights=None, pip=None, effect=None, observed=None):
    """A result like `Network.fit`'s: `weights`, `pip` and `effect` by variable."""
    rng = np.random.default_rng(0)
    weights, pip, effect = weights or {}, pip or {}, effect or {}
    snps = [f"snp{j}" for j in range(MARKERS)]
    posterior, moments, values, data = {}, {"count": ("half", [10, 10])}, {}, {}
    for node in nodes:
        k = len(node.columns)
        column = {node.dim: node.columns}
        for p in node.parents:
            shape = (CHAINS, DRAWS, len(p.columns), k)
            noise = 0.1 * rng.normal(size=shape)
            mean = np.asarray(weights.get(p.weights, 1.0), float)
            posterior[p.weights] = (
                ["chain", "draw", f"{p.weights}_parent", node.dim],
                mean + noise - noise.mean(axis=(0, 1)),
            )
        for name in node.markers:
            dims, shape = ["chain", "half", "marker", node.dim], (CHAINS, 2, MARKERS, k)
            for part, value in (
                ("mean", effect.get(name, 0.1)),
                ("variance", 0.01),
                ("included", pip.get(name, 1)),
            ):
                moments[f"{name}_{part}"] = xr.DataArray(
                    np.broadcast_to(np.asarray(value, float), shape),
                    dims=dims,
                    coords={"marker": snps} | column,
                )
        people = {"individual": PEOPLE} | column
        values[f"{node.name}_mean"] = xr.DataArray(
            rng.normal(size=(len(PEOPLE), k)), dims=list(people), coords=people
        )
        values[f"{node.name}_heritability"] = (
            ["chain", "draw", node.dim],
            np.full((CHAINS, DRAWS, k), 0.5),
        )
        data[node.name] = xr.DataArray(
            rng.normal(size=(len(PEOPLE), k)), dims=list(people), coords=people
        )
    tree = xr.DataTree.from_dict(
        {
            "posterior": xr.Dataset(posterior),
            "moments": xr.Dataset(moments),
            "genetic_values": xr.Dataset(values),
            "observed_data": xr.Dataset(data if observed is None else observed),
            "constant_data": xr.Dataset({"geno_mean_dosage": ("marker", np.ones(MARKERS))}),
        }
    )
    tree.attrs["network"] = json.dumps([asdict(n) for n in nodes])
    return tree


def omics_network(n=3, mask=None, direct=False, traits=("y",), **options):
    nodes = [
        make_node("omics", [f"gene{k}" for k in range(n)]),
        make_node("pheno", traits, [make_parent("pheno", "omics", n, mask)], direct, True),
    ]
    return make_result(nodes, **options)


def edges(ax):
    return {p.get_gid(): p for p in ax.patches if p.get_gid()}


def texts(ax):
    return [t.get_text() for t in ax.texts]


def test_network_has_an_edge_for_each_weight_and_each_omic_of_the_markers():
    ax = plot_network(omics_network(3, traits=("y1", "y2")))
    wanted = {f"geno -> gene{k}" for k in range(3)}
    wanted |= {f"gene{k} -> y{t}" for k in range(3) for t in (1, 2)}
    assert set(edges(ax)) == wanted
    assert {"gene0", "gene1", "gene2", "y1", "y2", "omics", "pheno"} <= set(texts(ax))
    assert f"geno\n{MARKERS} markers" in texts(ax)


def test_network_edge_shows_size_sign_and_certainty_of_its_weight():
    drawn = edges(plot_network(omics_network(weights={"pheno_omics": [[2.0], [-1.0], [0.01]]})))
    strong, negative, doubtful = (drawn[f"gene{k} -> y"] for k in range(3))
    assert strong.get_linewidth() > negative.get_linewidth() > doubtful.get_linewidth()
    assert strong.get_edgecolor()[:3] != negative.get_edgecolor()[:3]
    assert strong.get_edgecolor()[:3] == doubtful.get_edgecolor()[:3]
    assert strong.get_alpha() == pytest.approx(1.0)
    assert doubtful.get_alpha() < 0.3


def test_network_width_of_marker_edges_is_heritability():
    result = omics_network(2)
    h2 = result["genetic_values"].dataset["omics_heritability"].copy()
    h2[..., 0] = 0.1
    result["genetic_values"] = result["genetic_values"].dataset.assign(omics_heritability=h2)
    drawn = edges(plot_network(result))
    assert drawn["geno -> gene0"].get_linewidth() < drawn["geno -> gene1"].get_linewidth()


def test_network_leaves_out_masked_weights_and_omics_without_markers():
    pip = np.ones((MARKERS, 3))
    pip[:, 1] = 0
    ax = plot_network(omics_network(mask=[[True], [True], [False]], pip={"omics_geno": pip}))
    assert set(edges(ax)) == {"geno -> gene0", "geno -> gene2", "gene0 -> y", "gene1 -> y"}


def test_network_direct_markers_are_dashed():
    drawn = edges(plot_network(omics_network(direct=True)))
    assert drawn["geno -> y"].get_linestyle() == "--"
    assert drawn["geno -> gene0"].get_linestyle() == "-"


def test_network_of_many_omics_keeps_the_largest_weights():
    weights = np.linspace(-0.5, 2.0, 50)[:, None]
    weights[3] = -9.0
    ax = plot_network(omics_network(50, weights={"pheno_omics": weights}))
    shown = {t for t in texts(ax) if t.startswith("gene") and t[4:].isdigit()}
    assert shown == {"gene3"} | {f"gene{k}" for k in range(31, 50)}
    assert "30 of 50 omics left out" in ax.get_title()
    assert len(edges(ax)) == 40


def test_network_puts_children_right_of_their_parents():
    nodes = [
        make_node("first", ["a", "b"]),
        make_node("second", ["c"], [make_parent("second", "first", 2)], markers=False),
        make_node("y", ["y"], [make_parent("y", "second", 1), make_parent("y", "first", 2)], False),
    ]
    ax = plot_network(make_result(nodes))
    x = {t.get_text(): t.xy[0] for t in ax.texts if hasattr(t, "xy")}
    assert x["a"] == x["b"] < x["c"] < x["y"]
    assert {"a -> c", "b -> c", "c -> y", "a -> y"} <= set(edges(ax))


def test_network_without_omics():
    ax = plot_network(make_result([make_node("y", ["y"], terminal=True, layer="pheno")]))
    assert set(edges(ax)) == {"geno -> y"}


def test_pip_draws_one_colour_for_each_omic():
    pip = np.random.default_rng(1).uniform(size=(MARKERS, 3))
    ax = plot_pip(omics_network(pip={"omics_geno": pip}))
    assert [c.get_label() for c in ax.collections] == ["gene0", "gene1", "gene2"]
    for k, points in enumerate(ax.collections):
        np.testing.assert_allclose(points.get_offsets()[:, 0], np.arange(1, MARKERS + 1))
        np.testing.assert_allclose(points.get_offsets()[:, 1], pip[:, k])
    assert "inclusion probability" in ax.get_ylabel()


def test_pip_of_one_trait_of_one_node():
    pip = {"omics_geno": np.full((MARKERS, 3), 0.2), "pheno_geno": np.full((MARKERS, 1), 0.7)}
    result = omics_network(direct=True, pip=pip)
    (points,) = plot_pip(result, trait="gene1").collections
    assert points.get_label() == "gene1"
    for ax in (plot_pip(result, node="pheno"), plot_pip(result, trait="y")):
        (points,) = ax.collections
        np.testing.assert_allclose(points.get_offsets()[:, 1], 0.7)


def test_pip_of_many_omics_colours_ten():
    pip = np.full((MARKERS, 14), 0.1)
    pip[0] = np.linspace(0.9, 0.2, 14)
    ax = plot_pip(omics_network(14, pip={"omics_geno": pip}))
    labels = [t.get_text() for t in ax.get_legend().get_texts()]
    assert labels == ["4 others", *(f"gene{k}" for k in range(10))]


def test_pip_of_a_prior_that_includes_every_marker_shows_effects():
    effect = np.linspace(-1, 1, MARKERS)[:, None] * np.ones(3)
    ax = plot_pip(omics_network(effect={"omics_geno": effect}), trait="gene0")
    (points,) = ax.collections
    np.testing.assert_allclose(points.get_offsets()[:, 1], np.abs(effect[:, 0]))
    assert ax.get_ylabel() == "|posterior mean effect|"
    assert "every marker" in ax.get_title()


def snp_map():
    return pd.DataFrame(
        {"chromosome": ["10"] * 10 + ["2"] * 20, "position": np.arange(MARKERS, 0, -1) * 1000},
        index=[f"snp{j}" for j in range(MARKERS)],
    )


def test_pip_with_a_map_orders_chromosomes_and_positions():
    pip = {"omics_geno": np.full((MARKERS, 3), 0.5)}
    ax = plot_pip(omics_network(pip=pip), map=snp_map(), trait="gene0")
    assert [t.get_text() for t in ax.get_xticklabels()] == ["2", "10"]
    points = next(c for c in ax.collections if c.get_label() == "gene0")
    x = points.get_offsets()[:, 0]
    assert x[10:].max() < x[:10].min()
    assert (np.diff(x[10:]) < 0).all() and (np.diff(x[:10]) < 0).all()


def test_pip_refuses_an_incomplete_map():
    result = omics_network()
    with pytest.raises(InputError, match=r"lacks 3 markers.*'snp27'"):
        plot_pip(result, map=snp_map().iloc[:27])
    with pytest.raises(InputError, match="position"):
        plot_pip(result, map=snp_map()[["chromosome"]])


def test_unknown_names_are_answered_with_the_choices():
    result = omics_network()
    with pytest.raises(InputError, match=r"'heigth'.*'gene0', 'gene1', 'gene2'"):
        plot_pip(result, trait="heigth")
    with pytest.raises(InputError, match=r"'nodes'.*'omics'"):
        plot_pip(result, node="nodes")
    with pytest.raises(InputError, match=r"'heigth'.*'y', 'gene0'"):
        plot_predicted(result, trait="heigth")


def points_of(ax):
    return ax.collections[0].get_offsets()


def test_predicted_draws_breeding_values_against_the_observed_layer():
    result = omics_network(traits=("y1", "y2"))
    ax = plot_predicted(result, trait="y2")
    ebv = result["genetic_values"]["pheno_mean"].to_numpy()[:, 1]
    y = result["observed_data"]["pheno"].to_numpy()[:, 1]
    np.testing.assert_allclose(points_of(ax), np.column_stack([ebv, y]))
    assert f"r = {np.corrcoef(ebv, y)[0, 1]:.2f}" in ax.get_title()
    assert "y1" in plot_predicted(result).get_title()


def test_predicted_finds_cells_of_incomplete_layers_with_colons_in_names():
    traits = ("a", "b:a")
    labels = ["i1:a", "i1:b:a", "i2:b:a", "i5:a", "i5:b:a"]
    cells = xr.DataArray(
        np.arange(5.0), dims="pheno_observed_cell", coords={"pheno_observed_cell": labels}
    )
    result = omics_network(traits=traits, observed={"pheno_observed": cells})
    np.testing.assert_allclose(points_of(plot_predicted(result, trait="a"))[:, 1], [0, 3])
    np.testing.assert_allclose(points_of(plot_predicted(result, trait="b:a"))[:, 1], [1, 2, 4])


def test_predicted_finds_cells_of_a_single_incomplete_trait():
    cells = xr.DataArray(
        [5.0, 7.0], dims="pheno_observed_cell", coords={"pheno_observed_cell": ["i9", "i3"]}
    )
    result = omics_network(observed={"pheno_observed": cells})
    np.testing.assert_allclose(points_of(plot_predicted(result))[:, 1], [7, 5])


def test_predicted_against_phenotypes_that_the_fit_did_not_see():
    result = omics_network()
    held_out = pd.DataFrame({"y": [3.0, np.nan, 1.0, 2.0]}, index=["i4", "i5", "i2", "stranger"])
    ax = plot_predicted(result, phenotypes=held_out)
    np.testing.assert_allclose(points_of(ax)[:, 1], [1, 3])
    with pytest.raises(InputError, match="no column 'y'"):
        plot_predicted(result, phenotypes=held_out.rename(columns={"y": "z"}))
    with pytest.raises(InputError, match="observed in 1 genotyped"):
        plot_predicted(result, phenotypes=held_out.iloc[:2])


def test_plots_draw_on_the_axes_given():
    _, ax = plt.subplots()
    for plot in (plot_network, plot_pip, plot_predicted):
        assert plot(omics_network(), ax=ax) is ax


@pytest.mark.parametrize("traits", [("y",), ("y1", "y2")])
def test_fit_figure_has_three_panels(traits):
    network, pip, predicted = plot_fit(omics_network(traits=traits)).axes
    assert "Network" in network.get_title()
    assert pip.get_xlabel().startswith("marker")
    assert traits[0] in predicted.get_title()


def test_fit_figure_without_omics():
    figure = plot_fit(make_result([make_node("y", ["y"], terminal=True, layer="pheno")]))
    figure.canvas.draw()
    assert len(figure.axes) == 3

"""Effects of relatives drawn with those nested in them, and trades of their variances."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from small_models import relatives_network

import nnmm_pymc as nn
from nnmm_pymc.simulation.pedigree import simulate_pedigree
from nnmm_pymc.steps import assign_steps
from nnmm_pymc.steps.collapsed import Collapsed
from nnmm_pymc.steps.relatives import RelativesGibbs


@pytest.fixture(scope="module")
def data():
    """60 animals, up to three records of most; one trait is missing here and there."""
    rng = np.random.default_rng(1)
    rows = simulate_pedigree(60, rng, generations=3, n_sires=4, n_dams=6, unknown=0.02)
    pedigree = nn.read_pedigree(rows)
    owner = np.repeat(np.arange(60), rng.integers(0, 4, 60))
    value = pedigree.draw(rng, 2, variance=0.5) + 0.4 * rng.normal(size=(60, 2))
    y = value[owner] + 0.6 * rng.normal(size=(len(owner), 2))
    y[rng.random(y.shape) < 0.1] = np.nan
    dam = np.append(pedigree.individuals.to_numpy(object), None)[pedigree.dam]
    records = pd.DataFrame(y, columns=["y1", "y2"]).assign(
        cow=pedigree.individuals[owner],
        dam=dam[owner],
        herd=[f"h{k}" for k in rng.integers(0, 5, len(owner))],
        weight=rng.uniform(0.5, 2.0, len(owner)),
    )
    return pedigree, records[records["dam"].notna()].reset_index(drop=True)


def network(data, equation):
    pedigree, records = data
    layers = [nn.Layer("pheno", records, individual="cow")]
    if "ped" in str(equation):
        layers.append(nn.Layer("ped", pedigree))
    return nn.Network(layers, equation)


def relatives(plan):
    return [step for step in plan.compound.methods if isinstance(step, RelativesGibbs)]


HALF_NORMAL = nn.Prior("HalfNormal", sigma=0.5)
EQUATIONS = {
    "two traits": nn.Equation("y1 + y2 ~ 1 + (1|herd) + (1|cow) + ped"),
    "weights": nn.Equation("y1 ~ 1 + (1|cow) + ped", weights="weight"),
    "priors that are not conjugate": nn.Equation(
        "y1 ~ 1 + (1|cow) + ped", priors={"ped": HALF_NORMAL, "1|cow": HALF_NORMAL}
    ),
    "maternal": nn.Equation("y1 ~ 1 + ped + (1|cow) + ped(dam) + (1|dam)"),
    "alone": nn.Equation("y1 + y2 ~ 1 + ped"),
}


@pytest.mark.parametrize("kind", EQUATIONS)
def test_moves_are_those_of_the_density_of_the_model(data, kind):
    table = nn.check_conditionals(network(data, EQUATIONS[kind]), points=2)
    assert "trade_move" in set(table["step"])
    assert table["ok"].fillna(True).all(), table


def test_what_is_nested_is_found_and_said(data):
    plan = assign_steps(network(data, EQUATIONS["maternal"]).model)
    pairs = {(s.outer.term.effects, s.inner.term.effects) for s in relatives(plan)}
    # Cows are nested in their dams too, but it is themselves that they belong to.
    assert pairs == {("y1_ped", "y1_1|cow"), ("y1_ped(dam)", "y1_1|dam")}
    text = "jointly, y1_1|cow nested; trade of y1_ped_variance and y1_1|cow_variance"
    assert str(plan).count(text) == 2
    (alone,) = relatives(assign_steps(network(data, EQUATIONS["alone"]).model))
    assert alone.describe() == "trade of y1+y2_ped_variance and y1+y2_residual_variance"


@pytest.mark.parametrize(
    ("equation", "nested"),
    [
        (nn.Equation("y1 ~ 1 + (1|herd) + ped", priors={"residual_variance": 0.4}), False),
        (nn.Equation("y1 ~ 1 + (1|cow) + ped", priors={"1|cow": 0.2}), True),
        (nn.Equation("y1 ~ 1 + (1|cow) + (1|herd)"), False),
    ],
)
def test_without_two_variances_or_relatives_nothing_is_traded(data, equation, nested):
    plan = assign_steps(network(data, equation).model)
    assert [s.trade for s in relatives(plan)] == [None] * nested
    assert nn.check_conditionals(network(data, equation), points=1)["ok"].fillna(True).all()


def test_the_collapsed_density_is_that_of_the_records():
    """Dense: records of five levels nested in three, the effects of both integrated out."""
    rng = np.random.default_rng(2)
    root = rng.normal(size=(3, 3))
    q, parent = root @ root.T + np.eye(3), np.array([0, 0, 1, 2, 2])
    level = np.array([0, 0, 1, 2, 3, 3, 3, 4])
    y, w = rng.normal(size=8), rng.uniform(0.5, 2.0, 8)
    sums = [np.bincount(level, v, 5) for v in (w, w * y)]
    precision = nn.Precision.of(q, ["a", "b", "c"]).matrix
    square = float(np.sum(w * y**2))
    base = Collapsed(precision, np.diag(q), parent, *sums, square, 8, 0.7, np.full(5, 0.3))

    def marginal(factors):
        """Its integral over u, from the value at the centre and the curvature there."""
        at = base.scaled(factors)
        c = np.diag(at.diagonal) + q / at.variance
        return at.log_density(at.centre) - 0.5 * np.linalg.slogdet(c)[1]

    def dense(factors):
        a, p, e = np.array([0.7, 0.3, 1.0]) * factors
        z_p = np.eye(5)[level]
        z_a = np.eye(3)[parent[level]]
        v = a * z_a @ np.linalg.inv(q) @ z_a.T + p * z_p @ z_p.T + e * np.diag(1 / w)
        return stats.multivariate_normal(cov=v).logpdf(y)

    moved = np.array([1.7, 0.4, 1.3])
    found = marginal(moved) - marginal(np.ones(3))
    assert found == pytest.approx(dense(moved) - dense(np.ones(3)), rel=1e-5)


@pytest.mark.parametrize("repeated", [True, False])
def test_a_step_goes_on_from_its_state(repeated):
    plan = assign_steps(relatives_network(repeated).model)
    (step,) = relatives(plan)
    step.setup_chain(np.random.default_rng(3), 5, 5)
    (start,) = plan.conditional.prior_points(1, 1)
    middle, _ = step.step(start)
    state = step.sampling_state
    wanted, _ = step.step(middle)
    step.setup_chain(np.random.default_rng(4), 5, 5)
    step.step(start)
    step.sampling_state = state
    again, _ = step.step(middle)
    assert all(np.array_equal(wanted[name], again[name]) for name in wanted)


@pytest.mark.statistical
def test_variances_that_are_hard_to_tell_apart_mix():
    """Ratio of variances from one iteration to the next, of 300 animals with few records."""
    rng = np.random.default_rng(1)
    rows = simulate_pedigree(300, rng, generations=4, n_sires=8, n_dams=20)
    pedigree = nn.read_pedigree(rows)
    owner = np.repeat(np.arange(300), rng.integers(1, 5, 300))
    value = pedigree.draw(rng, variance=0.4) + np.sqrt(0.2) * rng.normal(size=300)
    y = value[owner] + np.sqrt(0.4) * rng.normal(size=len(owner))
    records = pd.DataFrame({"cow": pedigree.individuals[owner], "y": y})
    model = network((pedigree, records), "y ~ 1 + (1|cow) + ped").model
    plan = assign_steps(model)
    plan.compound.setup_chain(rng, 100, 500)
    (point,) = plan.conditional.prior_points(1, 1)
    odds = []
    for iteration in range(600):
        point, _ = plan.compound.step(point)
        if iteration >= 100:
            odds.append(point["y_ped_variance_log__"][0] - point["y_1|cow_variance_log__"][0])
    # Drawn one after the other they are correlated by 0.95 and more.
    assert np.corrcoef(odds[:-1], odds[1:])[0, 1] < 0.85

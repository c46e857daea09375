"""The joint distribution test finds nothing wrong in the sampler as it is."""

import pymc as pm
import pytest
from small_models import MODELS

import nnmm_pymc as nn
from nnmm_pymc.checks.conditionals import model_of
from nnmm_pymc.checks.joint import JointModel
from nnmm_pymc.steps.network_nuts import NetworkNUTS

# Kinds of steps, each of which is in one of these models.
KINDS = {
    "gibbs": {"marker_gibbs", "conjugate_gibbs", "gaussian_gibbs", "latent_gibbs"},
    "hmc": {"marker_gibbs", "conjugate_gibbs", "latent_hmc"},
    "nuts": {"marker_gibbs", "conjugate_gibbs", "nuts"},
    "selection": {"marker_gibbs", "conjugate_gibbs", "gaussian_gibbs", "selection_gibbs"},
    "relu": {"marker_gibbs", "conjugate_gibbs", "nuts", "selection_gibbs"},
    "binary": {
        "marker_gibbs",
        "conjugate_gibbs",
        "gaussian_gibbs",
        "liability_gibbs",
        "random_effect_gibbs",
    },
    "slices": {"slice_gibbs"},
    "relatives": {"random_effect_gibbs", "gaussian_gibbs", "conjugate_gibbs"},
    "animal": {"random_effect_gibbs", "gaussian_gibbs", "conjugate_gibbs"},
    "joint": {"joint_marker_gibbs", "covariance_gibbs", "gaussian_gibbs", "conjugate_gibbs"},
    "coupled": {
        "coupled_random_effect_gibbs",
        "covariance_gibbs",
        "gaussian_gibbs",
        "conjugate_gibbs",
    },
    "joint relatives": {
        "joint_random_effect_gibbs",
        "coupled_random_effect_gibbs",
        "covariance_gibbs",
        "gaussian_gibbs",
        "conjugate_gibbs",
    },
    "correlated": {"joint_marker_gibbs", "covariance_gibbs", "gaussian_gibbs", "conjugate_gibbs"},
}


@pytest.mark.statistical
@pytest.mark.parametrize("name", KINDS)
def test_prior_and_data_are_left_alone(name):
    model, latent = MODELS[name]()
    table = nn.geweke(model, draws=150, random_seed=1, latent=latent)
    kinds = {step.split(":")[0] for step in table["step"]}
    # Categories and liabilities fix each other, so that no chain is run.
    both = {"all steps"} if name == "binary" else {"all steps", "chain"}
    assert kinds == KINDS[name] | both
    if "covariance_gibbs" in KINDS[name]:
        # A covariance matrix and data that are drawn around it move slowly: of 3,000 iterations 30
        # are effective, and of 150 not even the error is known. Transitions need no chain.
        table = table[table["step"] != "chain"]
    z = table["z"].dropna()
    assert len(z) > 0.5 * len(table)
    assert z.abs().max() < 4.0, table[table["z"].abs() >= 4.0]


def test_steps_read_the_data_that_they_are_given():
    joint = JointModel(model_of(MODELS["nuts"]()[0]), random_seed=1)
    (nuts,) = (step for step in joint.steps if step.name == "nuts")
    # Were the fused density not that of the model with its data, it would not be used.
    assert isinstance(nuts, NetworkNUTS)
    point, data = joint.draw()
    classes = joint.reference.draw_classes(point, None)
    seen = []
    for now in (data, joint.draw_data(point)):
        joint.set_data(now)
        seen.append(joint.reference.factors(point, classes))
    assert all((seen[0][name] != seen[1][name]).any() for name in data)


def test_what_cannot_be_tested_is_refused():
    with pm.Model() as flat:
        pm.Normal("y", pm.Flat("level"), 1.0, observed=[0.0])
    with pytest.raises(nn.InputError, match="'level' is flat"):
        nn.geweke(flat)
    with pm.Model() as bounded:
        level = pm.Normal("level")
        pm.Normal("y", level, 1.0, observed=[0.0])
        pm.Potential("bound", -(level**2))
    with pytest.raises(nn.InputError, match=r"potentials \(bound\)"):
        nn.geweke(bounded)
    slices, _ = MODELS["slices"]()
    with pytest.raises(nn.InputError, match="its steps are slice_gibbs"):
        nn.geweke(slices, only="nuts")
    with pytest.raises(nn.InputError, match="at least 50"):
        nn.geweke(slices, draws=10)

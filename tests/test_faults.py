"""Deliberate faults are found; `benchmarks/mutations.py` looks for those that take long to find."""

import functools

import pytest
from all_faults import FAULTS
from faults import Fault
from small_models import MODELS

import nnmm_pymc as nn
from nnmm_pymc.checks.conditionals import check_plan, model_of
from nnmm_pymc.steps.plan import assign_steps

# Compiling takes most of the time of the others.
QUICK = [f for f in FAULTS if f.shown_by == "conditionals" and not f.is_kernel]


@functools.cache
def plan(name):
    model, latent = MODELS[name]()
    return assign_steps(model_of(model), latent=latent)


def wrong(checked, points=1):
    table = check_plan(checked, points)
    return table[~table["ok"].fillna(True)]


@pytest.mark.parametrize("fault", QUICK, ids=lambda fault: fault.name)
def test_a_fault_is_found(fault):
    # What a step leaves for the next ones shows only after some iterations.
    points = 3 if fault.model == "classes" else 1
    checked = None if fault.built else plan(fault.model)
    with fault.put_in():
        assert len(wrong(checked or plan.__wrapped__(fault.model), points))


@pytest.mark.parametrize("name", sorted({f.model for f in QUICK}))
def test_the_same_steps_are_right_again(name):
    table = check_plan(plan(name), 1)
    # A kind of step that no look knows would have no value.
    assert table["ok"].eq(True).all()


@pytest.mark.statistical
def test_a_fault_that_no_density_shows_is_found_by_draws():
    (fault,) = (f for f in FAULTS if f.name == "slice sampling: level too high")
    model, latent = MODELS[fault.model]()
    with fault.put_in():
        table = nn.geweke(model, draws=500, latent=latent, only=fault.shown_by)
    assert table["z"].abs().max() > 5.0


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_source_of_a_fault_is_still_there(fault):
    with fault.put_in():
        pass


def test_a_source_that_is_gone_is_said():
    gone = Fault("gone", "kernels.slice:slice_sample", "no such text", "", "slices")
    with pytest.raises(LookupError, match="was rewritten"), gone.put_in():
        pass

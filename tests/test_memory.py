"""The memory of a run is estimated, printed, and refused where it is not there."""

import gc
import weakref

import numpy as np
import pytest

import nnmm_pymc as nn
from nnmm_pymc import memory as memory_module
from nnmm_pymc.free_memory import available_bytes
from nnmm_pymc.kernels.nuts import n_rows
from nnmm_pymc.memory import Memory, check_memory, run_memory
from nnmm_pymc.record import ChainRecord, RecordPlan
from nnmm_pymc.steps import ConditionalModel, assign_steps
from nnmm_pymc.steps.network_nuts import NetworkNUTS


@pytest.fixture(scope="module")
def network():
    return small_network()


def small_network():
    data = nn.simulate(40, 30, 2, random_seed=1, missing="individuals")
    layers = [nn.Layer("geno", data.genotypes), nn.Layer("omics", data.omics)]
    layers.append(nn.Layer("pheno", data.phenotypes))
    return nn.Network(layers, ["omics ~ 1 + geno", "y ~ 1 + tanh(omics)"])


def allocated(record):
    """Bytes of the arrays that a chain keeps its draws in."""
    moments = sum(a.nbytes for m in record.moments.values() for h in m for a in vars(h).values()
                  if isinstance(a, np.ndarray))  # fmt: skip
    stored = sum(a.nbytes for a in record.stored.values())
    return stored, moments + sum(a.nbytes for a in record.effects.values())


@pytest.mark.parametrize("keep", [(), ("omics_missing", "omics_geno_value")])
def test_the_estimate_counts_the_arrays_of_a_chain(network, keep):
    conditional = ConditionalModel(network.model)
    plan = RecordPlan(conditional, 700, 3, keep)
    start = conditional.check_points[0]
    stored, rest = allocated(ChainRecord.start(plan, start))
    one = run_memory(plan, start, chains=1, running=1)
    assert (one.draws, one.moments) == (2 * stored, 2 * rest)
    three = run_memory(plan, start, chains=3, running=2)
    assert (three.draws, three.moments) == (8 * stored, 8 * rest)
    assert three.working == 2 * one.working > 0
    if keep:
        assert one.largest == "omics_geno_value"


@pytest.mark.parametrize(
    ("parts", "advice"),
    [
        (
            (9_000_000_000, 5, 6),
            r"draw less, keep less \(most is of 'omics_missing'\), or on disk \(scratch=\)",
        ),
        ((5, 9_000_000_000, 6), "run fewer chains"),
        ((5, 6, 9_000_000_000), r"run fewer chains at a time \(cores=\)"),
    ],
)
def test_the_refusal_says_what_to_do(parts, advice, monkeypatch):
    monkeypatch.setattr(memory_module, "available_bytes", lambda: 2_000_000_000)
    with pytest.raises(nn.InputError, match=f"9.0 GB of memory and 2.0 GB are free: {advice}."):
        check_memory(Memory(*parts, "omics_missing"))
    monkeypatch.setattr(memory_module, "available_bytes", lambda: None)
    check_memory(Memory(*parts, "omics_missing"))


@pytest.mark.filterwarnings("ignore::nnmm_pymc.ConvergenceWarning")
def test_a_run_says_what_it_needs_and_is_refused_before_it_starts(network, monkeypatch, capsys):
    short = {"draws": 2, "tune": 0, "chains": 1, "progressbar": False, "random_seed": 1}
    network.fit(**short)
    assert "Memory of the run: about 1 MB" in capsys.readouterr().out
    monkeypatch.setattr(memory_module, "available_bytes", lambda: 10_000)
    with pytest.raises(nn.InputError, match="of memory and 1 MB are free"):
        network.fit(**short)


def test_scratch_of_trajectories_is_counted():
    steps = assign_steps(small_network().model).compound.methods
    (nuts,) = [step for step in steps if isinstance(step, NetworkNUTS)]
    conditional = nuts.conditional
    start = conditional.prior_points(1, 1)[0]
    record = RecordPlan(conditional, 10, 2, ())
    counted, rest = (run_memory(record, start, 2, 2, own).working for own in (steps, ()))
    assert counted - rest == 2 * 8 * n_rows(nuts.max_treedepth) * len(nuts.fused.order)


def test_free_memory_is_some():
    free = available_bytes()
    assert free is None or 10**6 < free < 10**14


@pytest.mark.filterwarnings("ignore::nnmm_pymc.ConvergenceWarning")
def test_a_network_that_is_let_go_of_is_freed_after_its_fit():
    network = small_network()
    network.fit(draws=2, tune=2, chains=1, cores=1, progressbar=False, random_seed=1)
    model = weakref.ref(network.model)
    del network
    gc.collect()
    assert model() is None

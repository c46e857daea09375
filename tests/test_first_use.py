"""What steps compile, two processes compile; each step is made once before the chains begin."""

import multiprocessing
import os
import time

import numba
import pytest

import nnmm_pymc as nn
from nnmm_pymc import first_use
from nnmm_pymc.first_use import Ahead, use_steps
from nnmm_pymc.steps import network_nuts, splitting
from nnmm_pymc.steps.conditional import ConditionalModel
from nnmm_pymc.steps.fused import fused_density


class Step:
    """Notes in a file which process made it."""

    def __init__(self, path, fails=False):
        self.path, self.fails, self.made = path, fails, 0

    def step(self, point):
        self.made += 1
        with open(self.path, "a") as file:
            file.write(f"{os.getpid()} ")
        if self.fails:
            raise ValueError("no such point")
        return point, []


class OtherStep(Step):
    pass


@pytest.mark.parametrize("processes", [1, 2])
def test_every_step_is_made_here_whoever_made_it_before(tmp_path, processes):
    steps = [Step(tmp_path / "a"), OtherStep(tmp_path / "b"), OtherStep(tmp_path / "c")]
    use_steps([*steps, steps[0]], {}, processes)
    makers = [set((tmp_path / name).read_text().split()) for name in "abc"]
    assert all(str(os.getpid()) in own for own in makers)
    assert [step.made for step in steps] == [1, 1, 1]


def test_a_process_that_hangs_is_not_waited_for(tmp_path, monkeypatch):
    class Hanging(Step):
        def step(self, point):
            if os.getpid() != here:
                time.sleep(60)
            return super().step(point)

    here = os.getpid()
    monkeypatch.setattr(first_use, "PATIENCE", 0.2)
    steps = [Step(tmp_path / "a"), Hanging(tmp_path / "b")]
    began = time.monotonic()
    use_steps(steps, {}, 2)
    assert time.monotonic() - began < 30.0
    assert [step.made for step in steps] == [1, 1]


def test_an_error_is_raised_once_though_two_processes_meet_it(tmp_path, capfd):
    with pytest.raises(ValueError, match="no such point"):
        use_steps([Step(tmp_path / "a"), OtherStep(tmp_path / "b", fails=True)], {}, 2)
    assert capfd.readouterr().err == ""


@pytest.fixture
def nothing_begun(monkeypatch):
    monkeypatch.setattr(first_use, "_begun", set())


def note(path):
    with open(path, "a") as file:
        file.write(f"{os.getpid()} ")


def test_ahead_is_another_process_and_once_for_each_name(tmp_path, nothing_begun):
    with Ahead(2) as ahead:
        for name in ("a", "b", "a"):
            ahead.start(name, lambda name=name: note(tmp_path / name))
    makers = [(tmp_path / name).read_text().split() for name in "ab"]
    assert [len(own) for own in makers] == [1, 1]
    assert len({str(os.getpid()), *makers[0], *makers[1]}) == 3


def test_nothing_is_ahead_on_one_core(tmp_path, nothing_begun):
    with Ahead(1) as ahead:
        ahead.start("a", lambda: note(tmp_path / "a"))
    assert not (tmp_path / "a").exists()


def test_what_is_ahead_may_hang_or_fail(monkeypatch, nothing_begun, capfd):
    monkeypatch.setattr(first_use, "PATIENCE", 0.2)
    began = time.monotonic()
    with Ahead(2) as ahead:
        ahead.start("fails", lambda: [].pop())
        ahead.start("hangs", lambda: time.sleep(60))
    assert time.monotonic() - began < 30.0
    for helper in ahead.helpers:
        helper.join(10.0)
        assert not helper.is_alive()
    assert capfd.readouterr().err == ""


def test_without_memory_for_another_process_this_one_does_it_all(
    tmp_path, monkeypatch, nothing_begun
):
    def start(self):
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(multiprocessing.get_context("fork").Process, "start", start)
    with Ahead(2) as ahead:
        ahead.start("a", lambda: note(tmp_path / "a"))
    steps = [Step(tmp_path / "b"), OtherStep(tmp_path / "c")]
    use_steps(steps, {}, 2)
    assert not (tmp_path / "a").exists()
    assert [step.made for step in steps] == [1, 1]


def test_after_an_error_nothing_is_waited_for(nothing_begun):
    began = time.monotonic()
    with pytest.raises(ValueError, match="of the model"), Ahead(2) as ahead:
        ahead.start("hangs", lambda: time.sleep(60))
        raise ValueError("of the model")
    assert time.monotonic() - began < 30.0


def test_what_is_compiled_ahead_is_what_a_run_uses(monkeypatch):
    calls: dict[str, set] = {"nuts_draw": set(), "reference_density": set()}

    def watch(module, name):
        kernel = getattr(module, name)

        def call(*arguments):
            calls[name].add(tuple(map(numba.typeof, arguments)))
            return kernel(*arguments)

        monkeypatch.setattr(module, name, call)

    watch(network_nuts, "nuts_draw")
    watch(splitting, "reference_density")
    data = nn.simulate(60, 20, 2, missing="cells", random_seed=1)
    layers = {"geno": data.genotypes, "omics": data.omics, "pheno": data.phenotypes}
    network = nn.Network(
        [nn.Layer(*pair) for pair in layers.items()], ["omics ~ 1 + geno", "y ~ 1 + tanh(omics)"]
    )
    network_nuts.compile_draw(fused_density(ConditionalModel(network.model)))
    ahead = {name: calls[name].copy() for name in calls}
    assert [len(found) for found in ahead.values()] == [1, 1]
    for found in calls.values():
        found.clear()
    network.fit(draws=2, tune=2, chains=1, cores=1, quiet=True, progressbar=False)
    assert calls == ahead

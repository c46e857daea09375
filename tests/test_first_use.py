"""What steps compile, two processes compile; each step is made once before the chains begin."""

import multiprocessing
import os
import time

import numba
import pytest

import nnmm_pymc as nn
from nnmm_pymc import first_use
from nnmm_pymc.first_use import Ahead
from nnmm_pymc.kernels import nuts
from nnmm_pymc.steps import markers, network_nuts, splitting


class Step:
    """Notes in a file which process made it."""

    name = "step"

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
    name = "other"


@pytest.fixture(autouse=True)
def nothing_begun(monkeypatch):
    monkeypatch.setattr(first_use, "_begun", set())


@pytest.mark.parametrize("processes", [1, 2])
def test_every_step_is_made_here_whoever_made_it_before(tmp_path, processes):
    steps = [Step(tmp_path / name) for name in "abc"]
    first = steps[0]
    with Ahead(processes) as ahead:
        ahead.start([first], {})
        ahead.use([*steps, first], {})
    makers = [(tmp_path / name).read_text().split() for name in "abc"]
    here = str(os.getpid())
    assert makers[1:] == [[here], [here]]
    assert len(makers[0]) == processes and makers[0][-1] == here
    assert [step.made for step in steps] == [1, 1, 1]


def test_what_another_process_compiles_is_made_here_last(tmp_path):
    path = tmp_path / "order"
    first, other = Step(path), OtherStep(path)
    made = []
    for step in (first, other):
        step.step = lambda point, step=step: made.append(step)
    with Ahead(2) as ahead:
        ahead.start([first], {})
        ahead.use([first, other], {})
    assert made == [other, first]


def test_a_kind_is_compiled_ahead_once(tmp_path):
    for name in "ab":
        with Ahead(2) as ahead:
            ahead.start([Step(tmp_path / name)], {})
            ahead.use([], {})
            if ahead.helper is not None:
                ahead.helper.join(30.0)
    assert (tmp_path / "a").exists() and not (tmp_path / "b").exists()


def test_a_process_that_hangs_is_not_waited_for(tmp_path, monkeypatch):
    class Hanging(Step):
        def step(self, point):
            if os.getpid() != here:
                time.sleep(60)
            return super().step(point)

    here = os.getpid()
    monkeypatch.setattr(first_use, "PATIENCE", 0.2)
    step, began = Hanging(tmp_path / "a"), time.monotonic()
    with Ahead(2) as ahead:
        ahead.start([step], {})
        ahead.use([step], {})
    assert time.monotonic() - began < 30.0
    assert step.made == 1
    ahead.helper.join(10.0)
    assert not ahead.helper.is_alive()


def test_an_error_is_raised_once_though_two_processes_meet_it(tmp_path, capfd):
    step = Step(tmp_path / "a", fails=True)
    with pytest.raises(ValueError, match="no such point"), Ahead(2) as ahead:
        ahead.start([step], {})
        ahead.use([step], {})
    assert capfd.readouterr().err == ""


def test_nothing_is_ahead_on_one_core(tmp_path):
    with Ahead(1) as ahead:
        ahead.start([Step(tmp_path / "a")], {})
    assert not (tmp_path / "a").exists()


def test_without_memory_for_another_process_this_one_does_it_all(tmp_path, monkeypatch):
    def start(self):
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(multiprocessing.get_context("fork").Process, "start", start)
    step = Step(tmp_path / "a")
    with Ahead(2) as ahead:
        ahead.start([step], {})
        ahead.use([step], {})
    assert step.made == 1


def test_after_an_error_nothing_is_waited_for():
    class Hanging:
        name = "hangs"

        def step(self, point):
            time.sleep(60)

    began = time.monotonic()
    with pytest.raises(ValueError, match="of the model"), Ahead(2) as ahead:
        ahead.start([Hanging()], {})
        raise ValueError("of the model")
    assert time.monotonic() - began < 30.0


def test_a_run_compiles_each_kernel_once(monkeypatch):
    """For one kind of arguments: what was compiled while the model was checked is used."""
    calls: dict[str, set] = {"nuts_draw": set(), "reference_density": set(), "sweep": set()}

    def watch(module, name):
        kernel = getattr(module, name)

        def call(*arguments):
            calls[name].add(tuple(map(numba.typeof, arguments)))
            return kernel(*arguments)

        monkeypatch.setattr(module, name, call)

    for module in (network_nuts, nuts):
        watch(module, "nuts_draw")
    watch(splitting, "reference_density")
    watch(markers, "sweep")
    data = nn.simulate(60, 20, 2, missing="cells", random_seed=1)
    layers = {"geno": data.genotypes, "omics": data.omics, "pheno": data.phenotypes}
    network = nn.Network(
        [nn.Layer(*pair) for pair in layers.items()], ["omics ~ 1 + geno", "y ~ 1 + tanh(omics)"]
    )
    network.fit(draws=2, tune=2, chains=1, cores=1, quiet=True, progressbar=False)
    assert [len(kinds) for kinds in calls.values()] == [1, 1, 1]

"""Steps are made once before the chains begin, in two processes while something is compiled."""

import os
import time

import pytest

from nnmm_pymc import first_use
from nnmm_pymc.first_use import use_steps


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

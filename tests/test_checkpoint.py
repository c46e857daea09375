"""Runs that are killed go on as if they had not been; checkpoints of another run are refused."""

from __future__ import annotations

import dataclasses
import errno
import json
import math
import multiprocessing
import os
import shutil
import signal
import sys
import time
import zlib
from collections import deque
from contextlib import nullcontext
from io import BytesIO
from pathlib import Path
from unittest import mock

import numpy as np
import pymc as pm
import pytest
import xarray as xr

import nnmm_pymc as nn
from nnmm_pymc import chain_checkpoint, chains, checkpoint, cli, fingerprint
from nnmm_pymc.chain_checkpoint import CheckpointWarning
from nnmm_pymc.chains import ChainTask, run_chains
from nnmm_pymc.checkpoint import Checkpoint
from nnmm_pymc.fingerprint import differences
from nnmm_pymc.first_use import Ahead
from nnmm_pymc.record import ChainRecord, RecordPlan
from nnmm_pymc.sample import DROPPED_STATS
from nnmm_pymc.state_file import HEADER, DamagedError, read_block, rebuild, write_block
from nnmm_pymc.steps.conditional import ConditionalModel

TUNE, DRAWS = 12, 15
RNG = np.random.default_rng(1)
DOSAGES = RNG.binomial(2, 0.4, (20, 6)).astype(np.int8)
PHENOTYPES = RNG.normal(size=20)


class Killed(Exception):
    """Stands for a signal that ends the process."""


def differing(a: xr.DataTree, b: xr.DataTree) -> list[str]:
    """Arrays of two results that do not have the same bits."""
    assert a.groups == b.groups
    return [
        f"{group}/{name}"
        for group in a.groups
        for name in {**a[group].dataset.variables, **b[group].dataset.variables}
        if a[group].dataset[name].to_numpy().tobytes()
        != b[group].dataset[name].to_numpy().tobytes()
    ]


def model(
    dosages=DOSAGES,
    phenotypes=PHENOTYPES,
    scale=1.0,
    prior=pm.InverseGamma,
    markers="abcdef",
    square=True,
    other=None,
) -> pm.Model:
    genotypes = nn.read_genotypes(dosages)
    with pm.Model(coords={"marker": list(markers)}) as built:
        effects = nn.MarkerEffects("effects", 0.5, pm.InverseGamma("slab", 3, 1), dims="marker")
        value = pm.Deterministic("value", nn.genetic_value(genotypes, effects))
        residual = prior("residual", 3, scale)
        sd = pm.math.sqrt(residual) if square else residual
        pm.Normal("trait", value, sd, observed=phenotypes)
        if other is not None:
            pm.Deterministic("other", other(residual))
    return built


OPTIONS = {
    "draws": 4, "tune": 2, "chains": 2, "cores": 1, "random_seed": 1, "progressbar": False,
    "quiet": True,
}  # fmt: skip


class Runs:
    """Two chains of a model, one after the other, as often as wanted."""

    def __init__(self, built: pm.Model, latent: str = "auto"):
        conditional = ConditionalModel(built)
        plan = nn.assign_steps(built, conditional=conditional, latent=latent)
        self.task = ChainTask(plan.compound, RecordPlan(conditional, DRAWS, 2), TUNE, DRAWS)
        self.starts = conditional.prior_points(3, 2)
        self.plain = self.run(None)

    def run(self, folder: Path | None, kill_at: int = -1) -> list[bytes]:
        """Everything that two chains keep; killed when so many iterations of both are done."""
        done = 0

        def throttled(bars, chain):
            def report(iteration, divergences):
                nonlocal done
                done = chain * (TUNE + DRAWS) + iteration
                if done == kill_at:
                    raise Killed

            return report

        saved = None if folder is None else Checkpoint(folder, resume=True, every=5)
        entered = nullcontext() if saved is None else saved.opened({}, 4, 0)
        with mock.patch.object(chains._Bars, "throttled", throttled), entered:
            seeds = np.random.SeedSequence(4).spawn(2)
            records = run_chains(self.task, self.starts, seeds, 1, False, Ahead(1), saved)
        blocks = []
        for record in records:
            stats = {k: v for k, v in record.stats.items() if not k.endswith(DROPPED_STATS)}
            block = BytesIO()
            write_block(block, dataclasses.replace(record, stats=stats))
            blocks.append(block.getvalue())
        return blocks


@pytest.fixture(scope="module")
def runs():
    return Runs(model())


@pytest.fixture(scope="module")
def network_runs(network):
    """With NUTS for the missing cells."""
    return Runs(network.model)


# Before the first checkpoint, in tuning, at its end, among the draws, and so in the second chain.
@pytest.mark.parametrize("kill_at", [1, 8, 12, 18, 27, 28, 54])
def test_a_killed_run_goes_on_bit_for_bit(runs, tmp_path, kill_at):
    with pytest.raises(Killed):
        runs.run(tmp_path, kill_at)
    assert runs.run(tmp_path) == runs.plain


def test_a_run_may_be_killed_again_and_again(runs, tmp_path):
    for kill_at in (7, 16, 16, 26, 39, 53):
        with pytest.raises(Killed):
            runs.run(tmp_path, kill_at)
    assert runs.run(tmp_path) == runs.plain
    # A finished run gives its result again without an iteration more.
    assert runs.run(tmp_path, kill_at=54) == runs.plain


@pytest.mark.parametrize("kill_at", [8, 18, 45])
def test_missing_cells_go_on(network_runs, tmp_path, kill_at):
    with pytest.raises(Killed):
        network_runs.run(tmp_path, kill_at)
    assert network_runs.run(tmp_path) == network_runs.plain


@pytest.mark.parametrize(
    ("prior", "trait", "latent"),
    [
        (nn.Horseshoe(), "y ~ 1 + tanh(omics)", "hmc"),
        (nn.BayesR(), nn.Equation("y ~ 1 + omics", priors={"omics": nn.BayesR()}), "auto"),
    ],
)
def test_other_steps_go_on(simulation, tmp_path, prior, trait, latent):
    layers = [
        nn.Layer("geno", simulation.genotypes),
        nn.Layer("omics", simulation.omics),
        nn.Layer("pheno", simulation.phenotypes),
    ]
    omics = nn.Equation("omics ~ 1 + geno", priors={"geno": prior})
    runs = Runs(nn.Network(layers, [omics, trait]).model, latent)
    for kill_at in (9, 45):
        with pytest.raises(Killed):
            runs.run(tmp_path, kill_at)
    assert runs.run(tmp_path) == runs.plain


def wait_for(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def sample(folder=None, built=None, **options):
    built = model() if built is None else built
    return nn.sample(built, **OPTIONS | options, checkpoint=folder, checkpoint_every=5)


def test_kill_9_of_all_processes(tmp_path):
    long = {"draws": 400, "cores": 2}

    def work():
        os.setsid()
        sample(tmp_path, **long)

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    wait_for(lambda: (tmp_path / "chain_1.draws").exists())
    os.killpg(process.pid, signal.SIGKILL)
    process.join()
    assert Checkpoint(tmp_path, resume=True).chain(1).iteration < 402
    assert not differing(sample(**long), sample(tmp_path, **long, resume=True))


def test_chains_end_with_the_process_that_was_killed(tmp_path):
    long = {"draws": 1_000_000, "cores": 2}
    process = multiprocessing.get_context("fork").Process(
        target=sample, args=(tmp_path,), kwargs=long
    )
    process.start()
    wait_for(lambda: (tmp_path / "chain_1.draws").exists())
    with (
        mock.patch.object(checkpoint, "LOCK_SECONDS", 0),
        mock.patch.object(Checkpoint, "chain", side_effect=AssertionError),
    ):
        assert "Another process is running" in refusal(tmp_path, **long)
    process.kill()
    process.join()
    # The lock is free once no chain has it, and then it is another run that is refused.
    assert "draws was 1000000, now 4" in refusal(tmp_path)


@pytest.fixture(autouse=True)
def handlers():
    """Python's own: a shell has what it starts in the background ignore Ctrl-C."""
    own = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in own.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def signalled(number, folder, cores, to=None):
    """What `sample` raises when a signal comes among its draws; `to` finds who gets it."""
    progress, sent = chains._Bars.update, []

    def update(bars, chain, done, divergences):
        progress(bars, chain, done, divergences)
        if done > 50 and not sent:
            sent.append(chain)
            os.kill(os.getpid() if to is None else to(), number)

    options = {"draws": 100_000, "cores": cores}
    with mock.patch.object(chains._Bars, "update", update):
        with pytest.raises(BaseException) as raised:
            sample(folder, **options)
    assert signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)
    text = str(raised.value)
    assert text.endswith(".") and "\n" not in text
    return raised.type, text


@pytest.mark.parametrize("cores", [1, 2])
@pytest.mark.parametrize(
    ("number", "kind"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_a_signal_is_answered_with_a_last_checkpoint(tmp_path, number, kind, cores):
    raised, text = signalled(number, tmp_path, cores)
    assert raised is kind
    assert f"give resume=True (--resume) to go on from the checkpoint in {tmp_path}" in text
    done = [Checkpoint(tmp_path, resume=True).chain(k).iteration for k in range(cores)]
    # Few of them by a multiple of 5, which would have been written anyhow.
    assert min(done) > 50 or cores == 2
    raised, text = signalled(number, None, cores)
    assert raised is kind
    assert "of 100002 iterations" in text and "nothing of it is kept; give a folder as" in text


def test_chains_stop_though_their_caller_ignores_the_signal(tmp_path):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raised, _ = signalled(signal.SIGINT, tmp_path, 2)
    assert raised is KeyboardInterrupt
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("given", [True, False])
def test_a_chain_that_was_killed_is_said_in_a_sentence(tmp_path, given):
    def child():
        return multiprocessing.active_children()[0].pid

    raised, text = signalled(signal.SIGKILL, tmp_path if given else None, 2, child)
    assert raised is nn.InputError
    assert "was ended by SIGKILL, as happens when memory runs out; " in text
    assert ("resume=True (--resume)" if given else "nothing is kept") in text
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("stop_at", [7, 12, 19])
def test_a_run_stopped_by_a_signal_goes_on_bit_for_bit(runs, tmp_path, stop_at):
    done = 0

    def check(report):
        def also(iteration, divergences):
            nonlocal done
            done += 1
            report(iteration, divergences)
            if done == stop_at:
                os.kill(os.getpid(), signal.SIGTERM)

        return also

    real = chains.run_chain
    with mock.patch.object(chains, "run_chain", lambda *a: real(*a[:4], check(a[4]), *a[5:])):
        with pytest.raises(SystemExit, match="to go on from the checkpoint"):
            runs.run(tmp_path)
    with Checkpoint(tmp_path, resume=True).opened({}, 4, 0):
        assert Checkpoint(tmp_path, resume=True).chain(0).iteration == stop_at
    assert runs.run(tmp_path) == runs.plain


def test_a_seed_nobody_gave_is_kept(tmp_path):
    with mock.patch.object(chains, "run_chain", side_effect=Killed), pytest.raises(Killed):
        sample(tmp_path, random_seed=None)
    seed = Checkpoint(tmp_path, resume=True).seed
    resumed = sample(tmp_path, random_seed=None, resume=True)
    assert resumed.attrs["random_seed"] == seed
    assert not differing(sample(random_seed=seed), resumed)


@pytest.fixture(scope="module")
def checkpointed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    nn.sample(model(), **OPTIONS, checkpoint=folder)
    return folder


def refusal(folder: Path, built: pm.Model | None = None, **options) -> str:
    options = OPTIONS | {"checkpoint": folder, "resume": True} | options
    with pytest.raises(nn.InputError) as error:
        nn.sample(model() if built is None else built, **options)
    text = str(error.value)
    assert str(folder) in text and text.endswith(".") and "\n" not in text
    return text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"draws": 5}, "draws was 4, now 5"),
        ({"random_seed": None}, "random_seed was 1, now None"),
        ({"keep": ["value"]}, "'value' was not kept, now kept in memory"),
        ({"initvals": {"slab": 2.0}}, "initvals was None, now {'slab': 2.0}"),
        (
            {"chains": 3, "latent": "nuts", "tune": 1, "target_accept": 0.9, "keep": ["value"]},
            "tune was 2, now 1; chains was 2, now 3; latent was auto, now nuts; and 2 more",
        ),
    ],
)
def test_other_settings_are_refused(checkpointed, options, said):
    assert f"is of another run: {said}; run it" in refusal(checkpointed, **options)


def changed(array: np.ndarray, to: float) -> np.ndarray:
    array = array.copy()
    array.flat[3] = to
    return array


def test_what_is_not_known_and_what_is_rounded_to_nothing_are_the_same():
    run = {"setting": {"initvals": [{"z": [1.0, math.nan]}]}, "density": {"zero": 1e-17}}
    again = {"setting": {"initvals": [{"z": [1.0, math.nan]}]}, "density": {"zero": -3e-16}}
    assert differences(run, again) == ""
    again["setting"]["initvals"][0]["z"][0] = 2.0
    assert "initvals was" in differences(run, again)


def test_draws_are_read_a_block_at_a_time(tmp_path):
    with (
        mock.patch.object(chain_checkpoint, "SECONDS", 0.0),
        mock.patch.object(chain_checkpoint, "SHARE", 1e-9),
    ):
        sample(tmp_path, draws=200)
    held, most = 0, 0

    class Counted(dict):
        def __init__(self, *content):
            nonlocal held, most
            super().__init__(*content)
            held += 1
            most = max(most, held)

        def __del__(self):
            nonlocal held
            held -= 1

    with mock.patch.object(chain_checkpoint, "read_block", lambda file: Counted(read_block(file))):
        sample(tmp_path, draws=200, resume=True)
    # The states of both chains, a block, and the next one.
    assert 2 < most <= 4


@pytest.mark.parametrize(
    ("built", "said"),
    [
        (lambda: model(changed(DOSAGES, 2 - DOSAGES.flat[3])), "the genotypes of 'value' differ"),
        (lambda: model(phenotypes=changed(PHENOTYPES, 0.1)), "the data of 'trait' differ"),
        (lambda: model(markers="abcdeg"), "the labels of 'marker' differ"),
        (lambda: model(scale=1 + 1e-12), "the prior or equation of 'residual' differs"),
        (lambda: model(prior=pm.Gamma), "'residual' was invgamma of shape () (LogTransform), now"),
        (lambda: model(square=False), "the prior or equation of 'trait' differs"),
    ],
)
def test_another_model_or_data_set_is_refused(checkpointed, built, said):
    assert f"is of another run: {said}" in refusal(checkpointed, built())


def test_other_deterministics_steps_and_places_are_refused(tmp_path):
    """What no variable of the model shows."""

    def run(folder, other, **options):
        built = model(other=other)
        if scaling := options.pop("scaling", None):
            with built:
                options["step"] = pm.Metropolis([built["residual"]], scaling=scaling)
        return (refusal if folder.exists() else sample)(folder, built, **options)

    with mock.patch("nnmm_pymc.record.LARGE", 5):
        options = {"keep": ["effects"], "scratch": tmp_path, "scaling": 2.0}
        run(tmp_path / "run", pm.math.sin, **options)
        for changes, said in (
            ({"other": None}, "'other' is not there now; run"),
            ({"other": pm.math.cos}, "the prior or equation of 'other' differs; run"),
            ({"scaling": 3.0}, "the options of the step of 'residual' differ; run"),
            ({"scaling": None}, "'residual' was by metropolis, now by "),
            ({"scratch": None}, "'effects' was kept on disk, now kept in memory; run"),
        ):
            other = {"other": pm.math.sin} | options | changes
            assert f"is of another run: {said}" in run(tmp_path / "run", **other)


def test_a_step_may_be_given_again(tmp_path):
    built = model()
    with built:
        step = pm.Metropolis([built["residual"]])
    first = sample(tmp_path, built, step=step, tune=120)
    assert not differing(first, sample(None, built, step=step, tune=120))
    assert not differing(first, sample(tmp_path, built, step=step, tune=120, resume=True))


def test_chains_of_another_run_are_refused(tmp_path):
    for name, seed in (("one", 1), ("two", 2)):
        sample(tmp_path / name, random_seed=seed)
    own, other = ((tmp_path / name / "chain_0.draws").read_bytes() for name in ("one", "two"))
    assert own != other
    for name in ("chain_0.draws", "chain_0.state"):
        shutil.copy(tmp_path / "two" / name, tmp_path / "one" / name)
        text = refusal(tmp_path / "one")
        assert "or its draws are damaged, or of another chain or run; put them back" in text
    # All files of a chain in the place of another's.
    for suffix in ("state", "draws"):
        shutil.copy(tmp_path / "two" / f"chain_0.{suffix}", tmp_path / "two" / f"chain_1.{suffix}")
    assert "chain_1.state or its draws are damaged, or of" in refusal(
        tmp_path / "two", random_seed=2
    )


def test_another_version_is_refused(checkpointed, tmp_path):
    with mock.patch.object(fingerprint, "_code", lambda: "other"):
        assert "the code of nnmm_pymc differs; run" in refusal(checkpointed)
    real = fingerprint._version
    with mock.patch.object(
        fingerprint, "_version", lambda name: "0.0" if name == "numpy" else real(name)
    ):
        assert f"numpy was {np.__version__}, now 0.0" in refusal(checkpointed)
    folder = shutil.copytree(checkpointed, tmp_path / "other")
    run = json.loads((folder / "checkpoint.json").read_text())
    (folder / "checkpoint.json").write_text(json.dumps(run | {"format": 0}))
    assert "has format 0" in refusal(folder)
    (folder / "checkpoint.json").write_text('{"format": 2')
    assert "checkpoint.json is damaged or none of nnmm_pymc; put" in refusal(folder)
    (folder / "checkpoint.json").unlink()
    assert "holds chain_0.draws without the checkpoint.json" in refusal(folder)
    assert len(list(folder.glob("chain_*"))) == 4


def test_files_of_others_stay(tmp_path):
    (tmp_path / "chain_stores.csv").write_text("precious")
    (tmp_path / "chain_0").mkdir()
    sample(tmp_path)
    assert (tmp_path / "chain_stores.csv").exists() and (tmp_path / "chain_0").exists()


@pytest.mark.parametrize("folder", [5, b"run", "", "a\0b", "~nobody.at.all/run", 2.5, True])
def test_what_names_no_folder_is_refused(folder):
    with pytest.raises(nn.InputError, match=r"^checkpoint=.* is no name of a folder; give one"):
        sample(folder)


def test_names_of_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Checkpoint("~/run").folder == tmp_path / "run"
    with pytest.raises(nn.InputError, match=r"cannot be written \(File name too long\); name"):
        sample(tmp_path / ("x" * 256))


def test_a_run_is_not_overwritten(checkpointed):
    assert "give resume=True (--resume) to go on with it" in refusal(checkpointed, resume=False)


def test_a_network_takes_the_same_options(network, checkpointed):
    with pytest.raises(nn.InputError, match="resume=True needs checkpoint="):
        network.fit(resume=True)
    with pytest.raises(nn.InputError, match="holds the checkpoint of a run already"):
        network.fit(checkpoint=checkpointed)


def test_the_command_says_the_same(checkpointed, tmp_path, capsys):
    files = ["--genotypes", "no.csv", "--phenotypes", "no.csv", "--out", str(tmp_path)]
    for more, said in (
        (["--resume"], "--resume needs --checkpoint"),
        (["--checkpoint", str(checkpointed)], "holds the checkpoint of a run already"),
    ):
        with mock.patch.object(sys, "argv", ["nnmm", "fit", *files, *more]):
            with pytest.raises(SystemExit):
                cli.main()
        assert said in capsys.readouterr().err


def test_a_folder_without_room_is_refused_before_sampling(tmp_path):
    (tmp_path / "file").touch()
    assert "cannot be written" in refusal(tmp_path / "file" / "run")
    full = mock.Mock(free=1000)
    with (
        mock.patch.object(shutil, "disk_usage", return_value=full),
        mock.patch.object(chains, "run_chain", side_effect=AssertionError),
    ):
        assert "has 0 MB free, and the run may need" in refusal(tmp_path / "run")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_of_others_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    assert "cannot be written" in refusal(tmp_path / "run")


def test_a_full_disk_leaves_the_last_checkpoint(runs, tmp_path):
    calls, fsync = 0, os.fsync

    def full(file):
        nonlocal calls
        calls += 1
        if calls > 5:  # the run, two states of tuning, then draws and state of the third
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(file)

    with mock.patch.object(os, "fsync", full), pytest.warns(CheckpointWarning) as said:
        with pytest.raises(Killed):
            runs.run(tmp_path, kill_at=27)
    assert len(said) == 1
    assert "No space left on device" in str(said[0].message)
    saved = Checkpoint(tmp_path, resume=True).chain(0)
    assert saved.iteration == 15
    assert saved.draws.stat().st_size == saved.n_bytes > 0
    assert sorted(p.name for p in tmp_path.glob("*.tmp")) == []
    assert runs.run(tmp_path) == runs.plain


def test_the_checkpoint_before_replaces_a_damaged_one(runs, tmp_path):
    with pytest.raises(Killed):
        runs.run(tmp_path / "first", kill_at=23)
    content = (tmp_path / "first" / "chain_0.state").read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    length = content[:6] + b"\x7f\x7f" + content[8:]
    with pytest.raises(Killed):
        runs.run(tmp_path / "second", kill_at=40)
    swapped = (tmp_path / "second" / "chain_1.state").read_bytes()
    wrong = (content[:-1], content[:5], b"", flipped, length, bytes(500), swapped)
    for k, damaged in enumerate(wrong):
        folder = shutil.copytree(tmp_path / "first", tmp_path / str(k))
        (folder / "chain_0.state").write_bytes(damaged)
        with pytest.warns(CheckpointWarning, match=r"damaged or .*; the one before .* after 15 it"):
            with pytest.raises(Killed):
                runs.run(folder, kill_at=22)
        # The damaged one has not become the one before.
        (folder / "chain_0.state").unlink()
        assert runs.run(folder) == runs.plain
    (tmp_path / "first" / "chain_0.draws").write_bytes(b"")
    with pytest.raises(nn.InputError, match=r"delete chain_0\.state, .* in"):
        runs.run(tmp_path / "first")


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: os.truncate(path, 30)])
def test_draws_taken_away_are_written_anew(runs, tmp_path, spoil):
    write, spoilt = chain_checkpoint.ChainCheckpoint._write, []

    def spoiling(own, iteration, *args):
        if iteration == 20:
            spoilt.append(spoil(own.draws))
        write(own, iteration, *args)

    with mock.patch.object(chain_checkpoint.ChainCheckpoint, "_write", spoiling):
        with pytest.warns(CheckpointWarning, match=r"chain_0\.draws was removed or cut short"):
            with pytest.raises(Killed):
                runs.run(tmp_path, kill_at=23)
    assert spoilt and runs.run(tmp_path) == runs.plain


def test_between_two_states_the_one_before_is_there(runs, tmp_path):
    """Killed after the old state has moved and before the new one takes its place."""
    with pytest.raises(Killed):
        runs.run(tmp_path, kill_at=23)
    (tmp_path / "chain_0.state").rename(tmp_path / "chain_0.state.tmp")
    assert runs.run(tmp_path) == runs.plain
    # Draws that no state knew of are gone: what is on disk is the run.
    assert runs.run(tmp_path) == runs.plain


class Attack:
    """What a file from elsewhere may hold: unpickled, it runs a command."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_files_cannot_run_code(tmp_path):
    target = tmp_path / "touched"
    objects = np.array([Attack(target)])
    with pytest.raises(TypeError):
        write_block(BytesIO(), objects)
    body = BytesIO()
    np.save(body, objects, allow_pickle=True)
    content = body.getvalue()
    crafted = HEADER.pack(len(content), zlib.crc32(content)) + content
    with pytest.raises(DamagedError):
        read_block(BytesIO(crafted))
    assert not target.exists()
    np.load(BytesIO(content), allow_pickle=True)
    assert target.exists(), "the attack is none"


def test_values_come_back_with_their_bits_and_types():
    values = [
        None, True, 3, 2**127 + 1, 0.1, -0.0, float("inf"), "text", np.float64(0.1),
        np.float32(0.1), np.int8(-3), np.bool_(True), (1, (2.0, None)), {"a": {3: [1]}}, [],
    ]  # fmt: skip
    arrays = [
        np.array(0.5), np.zeros((0, 3)), np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array([np.nan, -0.0, 1e-320]), np.array([1, 2], np.int8), np.array([True]),
    ]  # fmt: skip
    block = BytesIO()
    write_block(block, [values, arrays])
    block.seek(0)
    found, back = read_block(block)
    assert repr(found) == repr(values)
    assert [type(v) for v in found] == [type(v) for v in values]
    for a, b in zip(arrays, back, strict=True):
        assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
        assert (a.flags.c_contiguous, a.flags.f_contiguous) == (
            b.flags.c_contiguous, b.flags.f_contiguous,
        )  # fmt: skip
    with pytest.raises(TypeError, match="deque cannot be stored"):
        write_block(BytesIO(), [deque([1])])


def test_a_state_goes_into_a_fresh_step(network_runs):
    """Every field of every step, the generators of random numbers included."""
    step = network_runs.task.step
    step.setup_chain(np.random.default_rng(5), 3, 3)
    step.step(network_runs.starts[0])
    states = [method.sampling_state for method in step.methods]
    block = BytesIO()
    write_block(block, states)
    block.seek(0)
    saved = read_block(block)
    step.setup_chain(np.random.default_rng(6), 3, 3)
    step.step(network_runs.starts[1])
    for method, state, wanted in zip(step.methods, saved, states, strict=True):
        assert method.sampling_state != wanted
        again = rebuild(method.sampling_state, state)
        assert pm.step_methods.state.equal_dataclass_values(again, wanted)


def test_a_record_goes_on_with_its_divergences(runs):
    point = runs.starts[0]
    first, second = (ChainRecord.start(runs.task.record, point) for _ in range(2))
    for diverging in (True, False, True):
        first.add(point, [{"diverging": diverging}])
    second.take(first.since(0, 0))
    assert second.divergences == first.divergences == 2
    assert second.stats["diverging"][:3].tolist() == [True, False, True]


def test_a_step_without_a_state_is_refused(tmp_path):
    class Forgetful(pm.Metropolis):
        _state_class = pm.step_methods.state.DataClassState

    built = model()
    with built:
        step = Forgetful([built["residual"]])
    text = "has no sampling state"
    with pytest.raises(nn.InputError, match=text):
        nn.sample(built, **OPTIONS, step=step, checkpoint=tmp_path)
    assert not (tmp_path / "checkpoint.json").exists()


def test_writing_takes_little_of_the_time(tmp_path):
    own = chain_checkpoint.ChainCheckpoint(tmp_path, 0, "run")
    own.last -= 29
    assert not own.is_due(1, 10)
    own.last -= 2
    assert own.is_due(1, 10) and own.is_due(10, 10)
    seconds = iter([100.0, 103.0])
    with mock.patch.object(time, "monotonic", lambda: next(seconds)):
        with mock.patch.object(own, "_write"):
            own.save(1, {}, mock.Mock(), mock.Mock())
    assert own.wait == 60

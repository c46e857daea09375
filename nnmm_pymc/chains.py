"""Running chains: in this process or in forked ones, with a progress bar."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

import numpy as np
from pymc.step_methods.compound import CompoundStep
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from threadpoolctl import threadpool_limits

from nnmm_pymc.errors import InputError
from nnmm_pymc.first_use import Ahead
from nnmm_pymc.record import ChainRecord, RecordPlan
from nnmm_pymc.steps.conditional import Point
from nnmm_pymc.stopping import Stopped, StopSignals

if TYPE_CHECKING:
    from nnmm_pymc.chain_checkpoint import ChainCheckpoint
    from nnmm_pymc.checkpoint import Checkpoint

__all__ = ["ChainTask", "available_cores", "run_chains"]

REPORT_SECONDS = 0.2

# Of one chain: where it starts, its seed, its checkpoint if there is one, and its number.
Job = tuple[Point, np.random.SeedSequence, "ChainCheckpoint | None", int]


@dataclass(frozen=True, eq=False)
class ChainTask:
    """What every chain shares."""

    step: CompoundStep
    record: RecordPlan
    tune: int
    draws: int


def available_cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_chain(
    task: ChainTask,
    initial: Any,
    start: Point,
    seed: np.random.SeedSequence,
    report: Callable[[int, int], None],
    checkpoint: ChainCheckpoint | None = None,
    chain: int = 0,
    stop: StopSignals | None = None,
) -> ChainRecord:
    """Run one chain from a start, a seed, and the steps' initial state; no other chain enters.

    With a checkpoint it goes on from what is there, and a signal to stop is obeyed once it has
    written where it is. What is kept on disk is not in the record.
    """
    task.step.sampling_state = initial
    task.step.setup_chain(np.random.default_rng(seed), task.tune, task.draws)
    record = ChainRecord.start(task.record, start, chain)
    point, done, total = start, 0, task.tune + task.draws
    if task.tune == 0:
        task.step.stop_tuning()
    if checkpoint is not None and checkpoint.iteration:
        done, point = checkpoint.iteration, checkpoint.restore(task.step, record)
    for iteration in range(done, total):
        if iteration == task.tune > 0:
            task.step.stop_tuning()
        point, stats = task.step.step(point)
        if iteration >= task.tune:
            task.record.conditional.refresh(point)
            record.add(point, stats)
        report(iteration + 1, record.divergences)
        stopped = stop is not None and stop.asked is not None
        if checkpoint is not None and (stopped or checkpoint.is_due(iteration + 1, total)):
            checkpoint.save(iteration + 1, point, task.step, record)
        if stopped:
            raise Stopped
    record.plan = None
    for name in task.record.on_disk:
        del record.stored[name]
    return record


def run_chains(
    task: ChainTask,
    starts: list[Point],
    seeds: list[np.random.SeedSequence],
    cores: int,
    progressbar: bool,
    ahead: Ahead,
    checkpoint: Checkpoint | None = None,
) -> list[ChainRecord]:
    """Run all chains, at most `cores` at a time, each on one BLAS thread.

    Raises
    ------
    InputError
        If the process of a chain was killed.
    KeyboardInterrupt, SystemExit
        After Ctrl-C or SIGTERM, once every chain has written where it is.
    """
    total = task.tune + task.draws
    jobs: list[Job] = [
        (start, seed, None if checkpoint is None else checkpoint.chain(chain), chain)
        for chain, (start, seed) in enumerate(zip(starts, seeds, strict=True))
    ]
    with (
        threadpool_limits(1),
        _Bars(len(starts), total, progressbar) as bars,
        StopSignals() as stop,
    ):
        initial = task.step.sampling_state
        # What is compiled lazily is compiled here, once, not in every child.
        task.step.setup_chain(np.random.default_rng(0), 1, 1)
        ahead.use(task.step.methods, starts[0])
        if cores == 1 or len(starts) == 1 or "fork" not in multiprocessing.get_all_start_methods():
            run = _run_here
        else:
            run = _run_forked
        try:
            return run(task, initial, jobs, cores, bars, stop)
        except (Stopped, KeyboardInterrupt):
            raise stop.error(_how_to_go_on(checkpoint, bars)) from None
        finally:
            # A step of the user's own may be given to the run that goes on.
            task.step.sampling_state = initial


def _how_to_go_on(checkpoint: Checkpoint | None, bars: _Bars) -> str:
    if checkpoint is not None:
        return (
            f"The run was stopped; give resume=True (--resume) to go on from the checkpoint in "
            f"{checkpoint.folder}."
        )
    done = ", ".join(str(int(task.completed)) for task in bars.progress.tasks)
    return (
        f"The run was stopped after about {done} of {bars.total} iterations of its chains, and "
        "nothing of it is kept; give a folder as checkpoint= (--checkpoint) to be able to go on."
    )


def _run_here(
    task: ChainTask, initial: Any, jobs: list[Job], cores: int, bars: _Bars, stop: StopSignals
) -> list[ChainRecord]:
    records = []
    for start, seed, own, chain in jobs:
        report = bars.throttled(chain)
        records.append(run_chain(task, initial, start, seed, report, own, chain, stop))
        bars.finish(chain)
    return records


def _child(
    pipe: Connection, parent: int, task: ChainTask, initial: Any, job: Job, stop: StopSignals
) -> None:
    start, seed, checkpoint, chain = job
    last = 0.0
    stop.take()
    if checkpoint is not None:
        checkpoint.warn = lambda text: pipe.send(("warning", text))

    def report(done: int, divergences: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > REPORT_SECONDS:
            last = now
            if os.getppid() != parent:
                # Killed: nobody waits for the draws, and the checkpoint may be resumed elsewhere.
                os._exit(1)
            pipe.send(("progress", (done, divergences)))

    try:
        record = run_chain(task, initial, start, seed, report, checkpoint, chain, stop)
        pipe.send(("record", record))
    except Stopped:
        stop.die()
    except BaseException as error:
        pipe.send(("error", (type(error).__name__, str(error), traceback.format_exc())))
    finally:
        pipe.close()


def _run_forked(
    task: ChainTask, initial: Any, jobs: list[Job], cores: int, bars: _Bars, stop: StopSignals
) -> list[ChainRecord]:
    context = multiprocessing.get_context("fork")
    records: dict[int, ChainRecord] = {}
    waiting = list(range(len(jobs)))
    running: dict[Connection, tuple[int, Any]] = {}
    try:
        while waiting or running:
            stop.check()
            while waiting and len(running) < cores:
                chain = waiting.pop(0)
                receiver, sender = context.Pipe(duplex=False)
                process = context.Process(
                    target=_child,
                    args=(sender, os.getpid(), task, initial, jobs[chain], stop),
                    daemon=True,
                )
                process.start()
                sender.close()
                running[receiver] = (chain, process)
            for pipe in wait(list(running), REPORT_SECONDS):
                chain, process = running[pipe]  # type: ignore[index]
                try:
                    kind, content = _receive(pipe, chain)
                except EOFError:
                    stop.check()
                    process.join()
                    raise _killed(chain, process.exitcode, jobs[chain][2]) from None
                if kind == "progress":
                    bars.update(chain, *content)
                elif kind == "warning":
                    _warn(jobs[chain], content)
                else:
                    records[chain] = content
                    bars.finish(chain)
                    process.join()
                    del running[pipe]  # type: ignore[arg-type]
    finally:
        _end(running, jobs)
    return [records[chain] for chain in range(len(jobs))]


def _warn(job: Job, text: str) -> None:
    own = job[2]
    assert own is not None
    own.warn(text)


def _end(running: dict[Connection, tuple[int, Any]], jobs: list[Job]) -> None:
    """Let chains end their iteration, write where they are, and stop."""
    for _, process in running.values():
        process.terminate()
    for pipe, (chain, process) in running.items():
        with suppress(EOFError):
            # Read to the end: a chain with much to say would wait for us.
            while True:
                kind, content = pipe.recv()
                if kind == "warning":
                    _warn(jobs[chain], content)
        process.join()


def _receive(pipe: Any, chain: int) -> tuple[str, Any]:
    kind, content = pipe.recv()
    if kind == "error":
        name, message, trace = content
        raise RuntimeError(f"Chain {chain} stopped with {name}: {message}\n{trace}")
    return kind, content


def _killed(chain: int, code: int, checkpoint: ChainCheckpoint | None) -> InputError:
    by = f"by {signal.Signals(-code).name}" if code < 0 else f"with status {code}"
    likely = ", as happens when memory runs out" if code == -signal.SIGKILL else ""
    way = "nothing is kept, so run fewer chains at a time (cores=, --cores) or smaller ones"
    if checkpoint is not None:
        way = (
            f"give resume=True (--resume) to go on from the checkpoint in {checkpoint.folder}, "
            "with fewer chains at a time (cores=, --cores) if it was memory"
        )
    return InputError(f"The process of chain {chain} was ended {by}{likely}; {way}.")


class _Bars:
    """One progress bar a chain, on standard error."""

    def __init__(self, chains: int, total: int, show: bool):
        self.total = total
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[divergences]} divergences"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not show,
            # No thread of its own: a process that forks had better have one only.
            auto_refresh=False,
        )
        self.tasks = [
            self.progress.add_task(f"chain {c}", total=total, divergences=0) for c in range(chains)
        ]

    def __enter__(self) -> _Bars:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def update(self, chain: int, done: int, divergences: int) -> None:
        task = self.tasks[chain]
        self.progress.update(task, completed=done, divergences=divergences, refresh=True)

    def finish(self, chain: int) -> None:
        self.progress.update(self.tasks[chain], completed=self.total, refresh=True)

    def throttled(self, chain: int) -> Callable[[int, int], None]:
        last = 0.0

        def report(done: int, divergences: int) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last > REPORT_SECONDS or done == self.total:
                last = now
                self.update(chain, done, divergences)

        return report

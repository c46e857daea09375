"""Running chains: in this process or in forked ones, with a progress bar."""

from __future__ import annotations

import multiprocessing
import os
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

import numpy as np
from pymc.step_methods.compound import CompoundStep
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from threadpoolctl import threadpool_limits

from nnmm_pymc.record import ChainRecord, RecordPlan
from nnmm_pymc.steps.conditional import Point

__all__ = ["ChainTask", "available_cores", "run_chains"]

REPORT_SECONDS = 0.2


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
) -> ChainRecord:
    """Run one chain from a start, a seed, and the steps' initial state; no other chain enters."""
    task.step.sampling_state = initial
    task.step.setup_chain(np.random.default_rng(seed), task.tune, task.draws)
    record = ChainRecord.start(task.record, start)
    point, divergences = start, 0
    if task.tune == 0:
        task.step.stop_tuning()
    for iteration in range(task.tune + task.draws):
        if iteration == task.tune > 0:
            task.step.stop_tuning()
        point, stats = task.step.step(point)
        if iteration >= task.tune:
            task.record.conditional.refresh(point)
            record.add(point, stats)
            divergences += sum(bool(v) for s in stats for k, v in s.items() if "diverging" in k)
        report(iteration + 1, divergences)
    record.plan = None
    return record


def run_chains(
    task: ChainTask,
    starts: list[Point],
    seeds: list[np.random.SeedSequence],
    cores: int,
    progressbar: bool,
) -> list[ChainRecord]:
    """Run all chains, `cores` at a time, each on one BLAS thread."""
    total = task.tune + task.draws
    with threadpool_limits(1), _Bars(len(starts), total, progressbar) as bars:
        initial = task.step.sampling_state
        # What is compiled lazily is compiled here, once, not in every child.
        task.step.setup_chain(np.random.default_rng(0), 1, 1)
        task.step.step(starts[0])
        if cores == 1 or len(starts) == 1 or "fork" not in multiprocessing.get_all_start_methods():
            return [
                run_chain(task, initial, start, seed, bars.throttled(chain))
                for chain, (start, seed) in enumerate(zip(starts, seeds, strict=True))
            ]
        return _run_forked(task, initial, starts, seeds, cores, bars)


def _child(pipe: Connection, task: ChainTask, initial: Any, start: Point, seed: Any) -> None:
    last = 0.0

    def report(done: int, divergences: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > REPORT_SECONDS:
            last = now
            pipe.send(("progress", (done, divergences)))

    try:
        pipe.send(("record", run_chain(task, initial, start, seed, report)))
    except BaseException as error:
        pipe.send(("error", (type(error).__name__, str(error), traceback.format_exc())))
    finally:
        pipe.close()


def _run_forked(
    task: ChainTask, initial: Any, starts: list[Point], seeds: list[Any], cores: int, bars: _Bars
) -> list[ChainRecord]:
    context = multiprocessing.get_context("fork")
    records: dict[int, ChainRecord] = {}
    waiting = list(range(len(starts)))
    running: dict[Connection, tuple[int, Any]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < cores:
                chain = waiting.pop(0)
                receiver, sender = context.Pipe(duplex=False)
                process = context.Process(
                    target=_child,
                    args=(sender, task, initial, starts[chain], seeds[chain]),
                    daemon=True,
                )
                process.start()
                sender.close()
                running[receiver] = (chain, process)
            for pipe in wait(list(running)):
                chain, process = running[pipe]  # type: ignore[index]
                kind, content = _receive(pipe, chain)
                if kind == "progress":
                    bars.update(chain, *content)
                else:
                    records[chain] = content
                    bars.finish(chain)
                    process.join()
                    del running[pipe]  # type: ignore[arg-type]
    finally:
        for _, process in running.values():
            process.terminate()
    return [records[chain] for chain in range(len(starts))]


def _receive(pipe: Any, chain: int) -> tuple[str, Any]:
    try:
        kind, content = pipe.recv()
    except EOFError:
        raise RuntimeError(
            f"The process of chain {chain} ended without a result; the machine may have run out of "
            "memory."
        ) from None
    if kind == "error":
        name, message, trace = content
        raise RuntimeError(f"Chain {chain} stopped with {name}: {message}\n{trace}")
    return kind, content


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

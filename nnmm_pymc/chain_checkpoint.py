"""Where a chain is, on disk.

To ``chain_0.draws`` the draws since the last checkpoint are appended; ``chain_0.state`` has the
point, the state of the steps with their random numbers, running moments, and how much of the draws
belongs to them. It is replaced in one move once both are on disk, so whatever moment a run is
killed at, one state is whole. The one before it is kept too. Both files name run and chain, so that
those of another are told from them.
"""

from __future__ import annotations

import os
import re
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from pymc.step_methods.compound import CompoundStep
from pymc.step_methods.state import DataClassState

from nnmm_pymc.errors import InputError
from nnmm_pymc.record import ChainRecord
from nnmm_pymc.state_file import DamagedError, read_block, rebuild, write_block
from nnmm_pymc.steps.conditional import Point

__all__ = [
    "ChainCheckpoint",
    "CheckpointWarning",
    "chain_files",
    "checkpoint_bytes",
    "replace_file",
]

#: Seconds between two checkpoints of a chain.
SECONDS = 30.0
#: Writing takes at most one part in so many of the time.
SHARE = 20
# Statistics of a draw, at most; they are known only once there is one.
STATISTICS = 40
FILES = re.compile(r"chain_\d+\.(draws|state|state\.previous|state\.tmp)")


class CheckpointWarning(UserWarning):
    """A checkpoint could not be written or read; the run goes on from the one before."""


class ChainCheckpoint:
    """Reads and writes the checkpoints of one chain.

    Parameters
    ----------
    folder : Path
    number : int
        Of the chain.
    run : str
        What no other run has.
    every : int, optional
        Iterations between two checkpoints; about 30 seconds by default.

    Attributes
    ----------
    iteration : int
        Iterations that are on disk.
    warn : callable
        Takes the sentence that a checkpoint could not be written.

    Raises
    ------
    InputError
        If there are checkpoints and none is whole.
    """

    def __init__(self, folder: Path, number: int, run: str, every: int | None = None):
        self.folder, self.number, self.every = folder, number, every
        self.owner = {"run": run, "chain": number}
        self.state = folder / f"chain_{number}.state"
        self.previous = folder / f"chain_{number}.state.previous"
        self.draws = folder / f"chain_{number}.draws"
        self.warn: Callable[[str], None] = _warn
        self.failed = False
        self.last, self.wait = time.monotonic(), SECONDS
        # Whether the newest state is worth keeping when the next replaces it.
        self.whole = True
        self.saved = self._load()
        self.iteration, self.n_bytes = 0, 0
        if self.saved is not None:
            self.iteration, self.n_bytes = self.saved["iteration"], self.saved["n_bytes"]
        # How much of the record is on disk.
        self.draw, self.thinned = 0, 0

    def _load(self) -> dict[str, Any] | None:
        """The newest state that is whole, as are the draws up to it."""
        paths = [path for path in (self.state, self.previous) if path.exists()]
        for path in paths:
            try:
                with open(path, "rb") as file:
                    saved = self._own(read_block(file))
                for _ in self._read_draws(saved):
                    pass
            except DamagedError:
                continue
            except OSError as error:
                raise InputError(
                    f"The checkpoint {path} cannot be read ({error.strerror}); make it readable."
                ) from error
            self.whole = path == paths[0]
            if not self.whole:
                self.warn(
                    f"The checkpoint {self.state} is damaged or of another chain; the one before "
                    f"it is used, after {saved['iteration']} iterations."
                )
            return saved
        if paths:
            raise InputError(
                f"The checkpoint {paths[0]} or its draws are damaged, or of another chain or run; "
                f"put them back, or delete {self.state.name}, {self.previous.name} and "
                f"{self.draws.name} in {self.folder} to run this chain again."
            )
        return None

    def _own(self, content: Any) -> dict[str, Any]:
        """What a block holds, if it is of this chain of this run."""
        if not isinstance(content, dict) or not self.owner.items() <= content.items():
            raise DamagedError
        return content

    def _read_draws(self, saved: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Draws up to a state, one block in memory at a time."""
        n_bytes, draw = saved["n_bytes"], 0
        if n_bytes == 0:
            return
        if not self.draws.exists():
            raise DamagedError
        with open(self.draws, "rb") as file:
            while file.tell() < n_bytes:
                block = self._own(read_block(file))
                draw = block["draw"]
                yield block
            if file.tell() != n_bytes or draw != saved["draw"]:
                raise DamagedError

    def restore(self, step: CompoundStep, record: ChainRecord) -> Point:
        """Put the steps and an empty record where the chain stopped; returns its point there."""
        assert self.saved is not None
        for block in self._read_draws(self.saved):
            record.take(block)
        for name, halves in self.saved["moments"].items():
            first, second = map(rebuild, record.moments[name], halves)
            record.moments[name] = first, second
        for method, state in zip(_steps(step), self.saved["steps"], strict=True):
            method.sampling_state = rebuild(method.sampling_state, state)
        self.draw, self.thinned = record.draw, record.thinned
        point = self.saved["point"]
        self.saved = None
        return point

    def is_due(self, iteration: int, total: int) -> bool:
        """Whether to save after so many iterations."""
        if iteration == total:
            return True
        if self.every is not None:
            return iteration % self.every == 0
        return time.monotonic() - self.last >= self.wait

    def save(self, iteration: int, point: Point, step: CompoundStep, record: ChainRecord) -> None:
        """Write a checkpoint; if that fails the chain goes on, and the last one stays."""
        started = time.monotonic()
        try:
            self._write(iteration, point, step, record)
        except OSError as error:
            # What was taken for this one is given back.
            with suppress(OSError):
                os.truncate(self.draws, self.n_bytes)
            if not self.failed:
                self.warn(
                    f"Chain {self.number} could not write its checkpoint in {self.folder} after "
                    f"{iteration} iterations ({error.strerror}); the one after {self.iteration} "
                    "stays, sampling goes on and later ones will be tried."
                )
            self.failed = True
        self.last = time.monotonic()
        self.wait = max(SECONDS, SHARE * (self.last - started))

    def _write(self, iteration: int, point: Point, step: CompoundStep, record: ChainRecord) -> None:
        self._check_draws()
        n_bytes = self.n_bytes
        if record.draw > self.draw:
            with open(self.draws, "ab") as file:
                # A run that was killed may have left more than its state knows.
                file.truncate(n_bytes)
                write_block(file, self.owner | record.since(self.draw, self.thinned))
                _to_disk(file)
                n_bytes = file.tell()
        state = _state(self.owner, iteration, n_bytes, point, step, record)
        replace_file(self.state, state, self.previous if self.whole else None)
        self.whole, self.iteration, self.n_bytes = True, iteration, n_bytes
        self.draw, self.thinned = record.draw, record.thinned

    def _check_draws(self) -> None:
        """Draws that somebody took away are written anew: the chain has them all."""
        present = self.draws.stat().st_size if self.draws.exists() else 0
        if present < self.n_bytes:
            self.warn(
                f"{self.draws} was removed or cut short while the run goes on; it is written anew, "
                "so leave the folder alone until the run has ended."
            )
            self.n_bytes = self.draw = self.thinned = 0


def _warn(text: str) -> None:
    warnings.warn(text, CheckpointWarning, stacklevel=2)


def _steps(step: CompoundStep) -> list[Any]:
    """Steps of an iteration, each once however often it is made."""
    return list(dict.fromkeys(step.methods))


def _state(
    owner: dict[str, Any],
    iteration: int,
    n_bytes: int,
    point: Point,
    step: CompoundStep,
    record: ChainRecord,
) -> bytes:
    content = owner | {
        "iteration": iteration,
        "n_bytes": n_bytes,
        "draw": record.draw,
        "point": dict(point),
        "steps": [method.sampling_state for method in _steps(step)],
        "moments": record.moments,
    }
    state = BytesIO()
    write_block(state, content)
    return state.getvalue()


def checkpoint_bytes(record: ChainRecord, step: CompoundStep, start: Point) -> int:
    """About how much the checkpoints of a chain will take.

    Parameters
    ----------
    record : ChainRecord
        Empty.
    step : CompoundStep
    start : dict
        A point.

    Raises
    ------
    InputError
        If a step has a state that cannot be stored.
    """
    for method in _steps(step):
        name = getattr(method, "name", type(method).__name__)
        try:
            write_block(BytesIO(), method.sampling_state)
        except TypeError as error:
            raise InputError(
                f"Step {name!r} has a state that no checkpoint can hold ({error}); leave "
                "checkpoint out."
            ) from error
        if method._state_class is DataClassState:
            raise InputError(
                f"Step {name!r} has no sampling state (_state_class), so a run with it cannot be "
                "resumed; leave checkpoint out."
            )
    kept = [*record.stored.values(), *record.effects.values()]
    n_draws = 0 if record.plan is None else record.plan.draws
    draws = sum(v.nbytes for v in kept) + 8 * STATISTICS * n_draws
    point = sum(v.nbytes for v in start.values())
    # Steps hold the effects and genetic values once they have run. The state is there up to three
    # times: the last, the one before, and the next while it is written.
    return draws + 3 * (len(_state({}, 0, 0, start, step, record)) + 2 * point)


def chain_files(folder: Path) -> list[Path]:
    """Files in a folder that have the name of one that a chain writes."""
    return sorted(path for path in folder.iterdir() if FILES.fullmatch(path.name))


def _to_disk(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def replace_file(path: Path, content: bytes, previous: Path | None = None) -> None:
    """Replace a file in one move once the new one is on disk; keep the old one as `previous`.

    Raises
    ------
    OSError
        The old file is there then.
    """
    unfinished = path.with_name(f"{path.name}.tmp")
    try:
        with open(unfinished, "wb") as file:
            file.write(content)
            _to_disk(file)
    except OSError:
        with suppress(OSError):
            unfinished.unlink()
        raise
    if previous is not None and path.exists():
        os.replace(path, previous)
    os.replace(unfinished, path)

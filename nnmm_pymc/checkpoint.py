"""The folder of a run's checkpoints: which run it is, that it is alone there, and has the space.

A run that was stopped goes on from there and gives, bit for bit, what it would have given. Of each
chain there are two files (`nnmm_pymc.chain_checkpoint`).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from nnmm_pymc.chain_checkpoint import ChainCheckpoint, chain_files, replace_file
from nnmm_pymc.errors import InputError
from nnmm_pymc.fingerprint import Fingerprint, differences

try:
    import fcntl
except ImportError:  # Windows: two runs in one folder are not noticed.
    fcntl = None  # type: ignore[assignment]

__all__ = ["Checkpoint", "open_checkpoint"]

#: Version of the layout of the files.
FORMAT = 2
RUN_FILE = "checkpoint.json"
# The chains of a run that was killed need a moment to notice.
LOCK_SECONDS = 5.0


class Checkpoint:
    """The folder of a run's checkpoints.

    Parameters
    ----------
    folder : str or Path
        Made if absent; ``~`` is the user's own.
    resume : bool
        Go on with the run in the folder, if there is one.
    every : int, optional
        Iterations between two checkpoints of a chain; about 30 seconds by default.

    Attributes
    ----------
    seed : int or None
        That of the run in the folder.

    Raises
    ------
    InputError
        If it is no name of a folder, cannot be written, or holds a run and `resume` is false or
        chains of an unknown one.
    """

    def __init__(
        self, folder: str | os.PathLike[str], resume: bool = False, every: int | None = None
    ):
        self.folder, self.every = _path(folder), every
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock_file().close()
        except OSError as error:
            raise InputError(
                f"Checkpoint folder {folder} cannot be written ({error.strerror}); name another."
            ) from error
        stored = self._read()
        if stored is None and (found := chain_files(self.folder)):
            raise InputError(
                f"{folder} holds {found[0].name} without the {RUN_FILE} that says of which run it "
                "is; put that back, or name another folder."
            )
        if stored is not None and not resume:
            raise InputError(
                f"{folder} holds the checkpoint of a run already; give resume=True (--resume) to "
                "go on with it, or name another folder."
            )
        self.seed: int | None = None if stored is None else stored["seed"]

    def _lock_file(self) -> IO[bytes]:
        return open(self.folder / "lock", "ab")

    def _read(self) -> dict[str, Any] | None:
        path = self.folder / RUN_FILE
        if not path.exists():
            return None
        try:
            stored = json.loads(path.read_bytes())
            written, _ = stored["format"], (stored["seed"] + 1, stored["run"].items())
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path} is damaged or none of nnmm_pymc; put it back, or name another folder."
            ) from error
        if written != FORMAT:
            raise InputError(
                f"The checkpoint in {self.folder} has format {written}, and this version of "
                f"nnmm_pymc reads {FORMAT}; go on with the version that wrote it, or name another "
                "folder."
            )
        return stored

    @contextmanager
    def opened(self, run: Fingerprint, seed: int, n_bytes: int) -> Iterator[None]:
        """Hold the folder for this process and its chains; a new run is entered in it.

        Parameters
        ----------
        run : Fingerprint
        seed : int
        n_bytes : int
            About how much the checkpoints will take.

        Raises
        ------
        InputError
            If the run in the folder is another one, is going on, or there is not enough space.
        """
        with self._lock_file() as lock:
            self._acquire(lock)
            stored = self._read()
            different = differences(stored["run"], run) if stored is not None else ""
            if different:
                raise InputError(
                    f"The checkpoint in {self.folder} is of another run: {different}; run it as it "
                    "was, or name another folder."
                )
            self._check_space(n_bytes)
            if stored is None:
                self._enter({"format": FORMAT, "seed": seed, "run": run})
            yield

    def _acquire(self, lock: IO[bytes]) -> None:
        """Chains inherit the lock, so it is free once every process of a run has ended."""
        started = time.monotonic()
        while fcntl is not None:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() - started > LOCK_SECONDS:
                    raise InputError(
                        f"Another process is running in the checkpoint folder {self.folder}; "
                        "wait until it has ended, or name another folder."
                    ) from None
                time.sleep(0.1)
            except OSError:  # a file system without locks
                return

    def _check_space(self, n_bytes: int) -> None:
        present = sum(p.stat().st_size for p in chain_files(self.folder))
        free = shutil.disk_usage(self.folder).free + present
        if free < n_bytes:
            raise InputError(
                f"Checkpoint folder {self.folder} has {free / 1e6:,.0f} MB free, and the run may "
                f"need {n_bytes / 1e6:,.0f} MB; make room or name another folder."
            )

    def _enter(self, run: dict[str, Any]) -> None:
        try:
            replace_file(self.folder / RUN_FILE, json.dumps(run, indent=1).encode())
        except OSError as error:
            raise InputError(
                f"Checkpoint folder {self.folder} cannot be written ({error.strerror}); name "
                "another."
            ) from error

    def chain(self, number: int) -> ChainCheckpoint:
        """The checkpoint of one chain, with what is on disk read.

        Raises
        ------
        InputError
            If what is on disk is damaged.
        """
        run = hashlib.sha256((self.folder / RUN_FILE).read_bytes()).hexdigest()
        return ChainCheckpoint(self.folder, number, run, self.every)


def _path(folder: Any) -> Path:
    try:
        name = os.fspath(folder)
        if isinstance(name, str) and name and "\0" not in name:
            return Path(name).expanduser()
    except (TypeError, RuntimeError):  # no name; nobody is called ~so
        pass
    raise InputError(f"checkpoint={folder!r} is no name of a folder; give one, as in 'run_1'.")


def open_checkpoint(
    folder: str | os.PathLike[str] | None, resume: bool, every: int | None
) -> Checkpoint | None:
    """The folder that a user named, if any; parameters as those of `Checkpoint`."""
    if folder is None:
        if resume:
            raise InputError("resume=True needs checkpoint=, the folder of the run to go on with.")
        return None
    if every is not None and (not isinstance(every, int) or every < 1):
        raise InputError(f"checkpoint_every={every!r} must be a whole number of at least 1.")
    return Checkpoint(folder, resume, every)

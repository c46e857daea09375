"""Kill a run with SIGKILL at random moments, resume it, and compare with the run nobody killed.

    python benchmarks/kill_resume.py [number of kills] [seed of the moments]

A network with missing omics, two chains in two processes, a checkpoint every 10 iterations. Every
run is a new interpreter, and the kill takes its whole process group. One time in four what is
resumed is killed again.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import xarray as xr

import nnmm_pymc as nn

OPTIONS = {"draws": 200, "tune": 100, "chains": 2, "cores": 2, "random_seed": 5}


def fit(folder: Path) -> None:
    """The run: its checkpoints and its result go to the folder."""
    data = nn.simulate(80, 30, 2, missing="cells", random_seed=1)
    network = nn.Network(
        [
            nn.Layer("geno", data.genotypes),
            nn.Layer("omics", data.omics),
            nn.Layer("pheno", data.phenotypes),
        ],
        [nn.Equation("omics ~ 1 + geno", priors={"geno": nn.BayesC()}), "y ~ 1 + tanh(omics)"],
    )
    result = network.fit(
        **OPTIONS,
        progressbar=False,
        quiet=True,
        checkpoint=folder,
        resume=True,
        checkpoint_every=10,
    )
    nn.save(result, folder)


def start(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, __file__, "--fit", str(folder)]
    return subprocess.Popen(command, start_new_session=True)


def wait_for_checkpoint(folder: Path, process: subprocess.Popen[bytes]) -> float:
    """Wait for the first checkpoint; returns the time."""
    while not (folder / "chain_0.state").exists() and process.poll() is None:
        time.sleep(0.005)
    return time.time()


def finish(folder: Path, process: subprocess.Popen[bytes]) -> xr.DataTree:
    if process.wait() != 0:
        raise SystemExit(f"The run in {folder} failed with status {process.returncode}.")
    return nn.load(folder)


def kill(folder: Path, moment: float, seconds: float) -> str:
    """Start the run and kill it so many seconds after its first checkpoint, or after its start."""
    process = start(folder)
    if moment >= 0:
        wait_for_checkpoint(folder, process)
    time.sleep(abs(moment) * seconds)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if (folder / "result.zarr.zip").exists():
        return "after the end"
    chains = range(OPTIONS["chains"])
    if not any((folder / f"chain_{k}.state").exists() for k in chains):
        return "before a checkpoint"
    if any((folder / f"chain_{k}.draws").exists() for k in chains):
        return "among the draws"
    return "in tuning"


def identical(a: xr.DataTree, b: xr.DataTree) -> bool:
    """Whether two results have the same arrays, bit by bit."""
    if a.groups != b.groups:
        return False
    for group in a.groups:
        first, second = a[group].dataset.variables, b[group].dataset.variables
        if set(first) != set(second):
            return False
        for name in first:
            x, y = first[name].to_numpy(), second[name].to_numpy()
            if x.dtype != y.dtype or x.shape != y.shape or not same_bits(x, y):
                return False
    return True


def same_bits(x: np.ndarray, y: np.ndarray) -> bool:
    return x.tolist() == y.tolist() if x.dtype.kind in "OT" else x.tobytes() == y.tobytes()


def main(n_kills: int, seed: int) -> None:
    moments = random.Random(seed)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "warm")
        finish(folder, start(folder))  # compiles
        folder = Path(scratch, "reference")
        process = start(folder)
        first = wait_for_checkpoint(folder, process)
        expected = finish(folder, process)
        seconds = (folder / "chain_0.state").stat().st_mtime - first
        print(f"{seconds:.1f} s from the first checkpoint to the last", flush=True)
        right, where = 0, Counter[str]()
        for k in range(n_kills):
            folder = Path(scratch, str(k))
            folder.mkdir()
            where[kill(folder, moments.uniform(-0.2, 1.0), seconds)] += 1
            if moments.random() < 0.25:
                kill(folder, moments.uniform(-0.2, 1.0), seconds)
            ok = identical(finish(folder, start(folder)), expected)
            right += ok
            print(f"kill {k + 1}: {'identical' if ok else 'DIFFERENT'}", flush=True)
    print(
        f"{right} of {n_kills} identical; killed " + ", ".join(f"{v} {n}" for n, v in where.items())
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--fit"]:
        fit(Path(sys.argv[2]))
    else:
        numbers = [int(a) for a in sys.argv[1:]]
        main(*(numbers + [50, 1][len(numbers) :]))

"""Every long check of whether the sampler and its runs can be trusted, one on each core at a time.

    python benchmarks/trust.py FOLDER [--only WORD ...]

The checks are `calibration.py` for every prior and network type, `geweke.py` for every small
model, `mutations.py`, `kill_resume.py`, `fuzz.py` and `drift.py`, the longest first: some 200
minutes of one core of an EPYC of 2024, twice that of an older one. What each prints goes to
FOLDER/NAME.txt, under a line with the last commit that changed code; what is there already of this
commit is not run again, so that a part can be left for later. Printed is the last line of each, and
how long it took.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
GEWEKE = [
    ["own", "horseshoe", "coupled", "joint relatives", "direct", "relatives", "joint", "animal"],
    ["correlated", "ordinal", "selection", "partial", "gibbs", "relu", "classes", "joint ridge"],
    ["hmc", "slices", "scaled nuts", "nuts", "bent", "binary"],
]
PLAIN = "RRBLUP GBLUP BayesA BayesB BayesC BayesL BayesR MarkerGroups".split()


def calibration(prior: str, network: str, replicates: int = 300) -> list[str]:
    return ["calibration.py", prior, network, str(replicates)]


def jobs() -> list[list[str]]:
    """Scripts and their arguments, the longest first."""
    first, second, third = ([["geweke.py", name] for name in names] for names in GEWEKE)
    return [
        calibration("JointBayesC", "traits"),
        calibration("JointRRBLUP", "traits"),
        calibration("BayesC", "function", 304),
        calibration("BayesC", "cells", 1500),
        ["kill_resume.py"],
        ["mutations.py"],
        calibration("BayesC", "sequence"),
        *first,
        calibration("Horseshoe", "plain"),
        *(calibration("BayesC", n) for n in ("relatives", "direct", "individuals", "hmc")),
        calibration("BayesC", "partial"),
        calibration("GBLUP", "individuals"),
        *second,
        ["fuzz.py", "20000", "200000"],
        *third,
        *(calibration("BayesC", n) for n in ("observed", "binary")),
        *(calibration(prior, "plain") for prior in PLAIN),
        ["drift.py"],
    ]


def commit() -> str:
    """The last commit that changed code, and whether there are changes since."""
    code = ["--", "nnmm_pymc", "tests", "benchmarks/*.py"]

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(HERE.parent), *arguments, *code]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    return git("log", "-1", "--format=%h") + (
        " and changes" if git("status", "--porcelain") else ""
    )


def run(job: list[str], folder: Path, stamp: str) -> None:
    name = " ".join([job[0].removesuffix(".py"), *job[1:]])
    file = folder / f"{name.replace(' ', '_')}.txt"
    done = f"{stamp}: "
    if file.exists() and file.read_text().startswith(done):
        print(f"{name}: there already", flush=True)
        return
    began = time.monotonic()
    found = subprocess.run(
        [sys.executable, str(HERE / job[0]), *job[1:]],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | ONE_THREAD,
    )
    seconds = time.monotonic() - began
    last = (found.stdout.strip().splitlines() or ["nothing printed"])[-1]
    if found.returncode == 0:
        file.write_text(f"{done}{name}, {seconds:.0f} s\n{found.stdout}")
    else:
        last = f"FAILED with {found.returncode}\n{found.stdout}"
    print(f"{name}: {seconds:.0f} s; {last}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    wanted = [job for job in jobs() if all(word in " ".join(job) for word in given.only)]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for result in [pool.submit(run, job, given.folder, commit()) for job in wanted]:
            result.result()

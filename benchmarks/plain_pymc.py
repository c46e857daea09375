"""A network against the same model written by hand for `pm.sample`, run for long.

Prints means and sds of every parameter under both samplers with the z score of their difference
(should be standard normal), and effective draws a second of each sampler.

    python benchmarks/plain_pymc.py --draws 10000 --chains 4
"""

import argparse
import datetime
import platform
import sys
import time
from pathlib import Path

import arviz as az
import numpy as np
import pymc as pm

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from test_against_pymc import compare, make_data, network_draws, plain_draws


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=10_000, help="of each chain")
    parser.add_argument("--chains", type=int, default=4)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    options = {"draws": arguments.draws, "chains": arguments.chains, "cores": arguments.cores}
    draws, seconds = {}, {}
    for label, sampler in (("network", network_draws), ("plain", plain_draws)):
        start = time.perf_counter()
        draws[label] = sampler(make_data(), arguments.seed, tune=1000, **options)
        seconds[label] = time.perf_counter() - start
    table = compare(draws["network"], draws["plain"])

    print(f"{datetime.date.today()}, PyMC {pm.__version__}, {platform.machine()}, {options}")
    for label, values in draws.items():
        least = min(_ess(v) for name, v in values.items() if name != "missing")
        print(f"{label:8} {seconds[label]:7.0f} s, least effective draws {least:.0f}")
    z = table["z"]
    print(
        f"{len(z)} comparisons: sd of z {z.std():.2f}, beyond 2: {np.mean(np.abs(z) > 2):.1%}, "
        f"largest {np.abs(z).max():.2f}"
    )
    print(table.round(4).to_string(index=False))


def _ess(values: np.ndarray) -> float:
    """Least effective sample size of the elements that vary."""
    elements = [np.ascontiguousarray(values[..., e]) for e in range(values.shape[2])]
    return min((float(az.ess(e)) for e in elements if np.ptp(e) > 0), default=np.inf)


if __name__ == "__main__":
    main()

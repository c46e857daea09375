"""The joint distribution test of every kind of step, with many draws.

    python benchmarks/geweke.py [--draws 10000] [--seed 1] [MODEL ...]

Every small model of the tests (`tests/small_models.py`): each of its steps and all of them together
from independent draws of unknowns and data, and a chain that draws the data again
(`nnmm_pymc.geweke`). Printed for each: how many moments, the largest |z| and the mean z^2 (wanted:
below 4, and near 1), the fewest effective draws; then every moment with |z| >= 4.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import pandas as pd

import nnmm_pymc as nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from small_models import MODELS

BOUND = 4.0


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """A line for each step."""
    by_step = table.dropna(subset="z").groupby("step", sort=False)
    return pd.DataFrame(
        {
            "moments": by_step.size(),
            "largest": by_step["z"].agg(lambda z: z.abs().max()),
            "mean z^2": by_step["z"].agg(lambda z: (z**2).mean()),
            "effective": by_step["effective"].min(),
        }
    )


def main(names: list[str], draws: int, seed: int) -> None:
    for name in names:
        began = time.process_time()
        model, latent = MODELS[name]()
        table = nn.geweke(model, draws, random_seed=seed, latent=latent)
        seconds = time.process_time() - began
        print(f"{name}: {draws} draws, seed {seed}, {seconds:.0f} s CPU")
        print(summary(table).round(2).to_string())
        beyond = table[table["z"].abs() >= BOUND]
        if len(beyond):
            print(f"beyond {BOUND}:\n{beyond.to_string()}")
        sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="*", default=list(MODELS), metavar="MODEL")
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    main(given.models, given.draws, given.seed)

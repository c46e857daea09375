"""Spoilt files of every format: how many are refused clearly, read rightly, or fool the package.

    python benchmarks/fuzz.py 20000 [first seed]

Every input is made from its seed (`tests/fuzz_samples.py`, `tests/fuzz_inputs.py`) and judged
(`tests/fuzz_oracle.py`); a fault prints its seed, how the file was spoilt, and what happened.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import fuzz_oracle
from fuzz_inputs import spoilt
from fuzz_oracle import Fault, judge
from fuzz_samples import Case

WIDE = 1_000_000


def wide() -> Iterator[Case]:
    """Files of a million columns: one that is good and three that are not."""
    names, ones = ",".join(map(str, range(WIDE))), ",1" * WIDE
    good = f"ID,{names}\na{ones}\nb{',2' * WIDE}\n"
    for kind in ("genotypes", "table"):
        yield Case(kind, {"good.csv": good.encode()})
        yield Case(kind, {"ragged.csv": good[:-3].encode()})
        yield Case(kind, {"cell.csv": f"{good}c{',x' + ones[2:]}\n".encode()})
        yield Case(kind, {"twice.csv": good.replace(",999999\n", ",5\n").encode()})


def main(n: int, first: int = 0) -> int:
    """Judge the inputs of `n` seeds, and the wide ones; the number of faults."""
    outcomes: Counter[tuple[str, str]] = Counter()
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # Zarr's, after a refusal
    fuzz_oracle.SECONDS = 60.0  # for the wide ones
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for label, case in chain(enumerate(map(spoilt, range(first, first + n)), first),
                                 (("wide", case) for case in wide())):  # fmt: skip
            try:
                outcomes[case.kind, judge(case, Path(folder))] += 1
            except Fault as fault:
                outcomes[case.kind, "FAULT"] += 1
                how = "+".join(case.spoilt_by)
                print(f"{label} {case.kind} {case.main} {how}: {str(fault)[:400]}", flush=True)
    for (kind, outcome), count in sorted(outcomes.items()):
        print(f"{kind:14}{outcome:9}{count:7}")
    faults = sum(count for (_, outcome), count in outcomes.items() if outcome == "FAULT")
    print(f"{outcomes.total()} inputs, {faults} faults, {time.monotonic() - started:.0f} s")
    return faults


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])) > 0)

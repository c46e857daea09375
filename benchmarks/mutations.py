"""Every deliberate fault of the tests, put into the sampler and looked for.

    python benchmarks/mutations.py [--only WORDS]

A fault (`tests/all_faults.py`) must be found by `nnmm_pymc.check_conditionals`; those of what is
done with a density, which no look at one density shows, by `nnmm_pymc.geweke` with at most 16,000
draws: |z| > 5 for some moment of the step. Steps are assigned first: many a fault is noticed then
(what a step reads is compared with the model's gradient) and mended by reading the gradient
instead.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import nnmm_pymc as nn
from nnmm_pymc.checks.conditionals import check_plan, model_of
from nnmm_pymc.steps.plan import StepPlan, assign_steps

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from all_faults import FAULTS
from faults import Fault
from small_models import MODELS

DRAWS, BOUND = (500, 4000, 16000), 5.0


def steps_of(name: str) -> StepPlan:
    model, latent = MODELS[name]()
    return assign_steps(model_of(model), latent=latent)


def found_by_conditionals(fault: Fault) -> str | None:
    plan = None if fault.built else steps_of(fault.model)
    with fault.put_in():
        table = check_plan(plan or steps_of(fault.model))
    wrong = table[~table["ok"].fillna(True)]
    return f"{', '.join(sorted(set(wrong['step'])))} differ" if len(wrong) else None


def found_by_geweke(fault: Fault) -> str | None:
    model, latent = MODELS[fault.model]()
    only = None if fault.shown_by == "all steps" else fault.shown_by
    for draws in DRAWS:
        with fault.put_in():
            table = nn.geweke(model, draws, latent=latent, only=only)
        own = table[table["step"].str.startswith(fault.shown_by)]
        worst = own.loc[own["z"].abs().idxmax()]
        if abs(worst["z"]) > BOUND:
            return f"{worst['quantity']} z {worst['z']:.1f} with {draws} draws"
    return None


def main(words: str) -> None:
    faults = [f for f in FAULTS if words in f.name]
    missed = 0
    for fault in faults:
        began = time.process_time()
        by_conditionals = fault.shown_by == "conditionals"
        found = (found_by_conditionals if by_conditionals else found_by_geweke)(fault)
        missed += found is None
        seconds = time.process_time() - began
        print(f"{fault.name} ({fault.model}): {found or 'MISSED'}; {seconds:.0f} s", flush=True)
    print(f"{len(faults) - missed} of {len(faults)} faults found")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="", metavar="WORDS", help="faults whose name has them")
    main(parser.parse_args().only)

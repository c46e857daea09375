"""What makes a run the run it is, so that a checkpoint of another one can be told from it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pymc.util import RandomGeneratorState
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Constant, Variable
from pytensor.graph.traversal import ancestors

from nnmm_pymc.distributions import GenotypeProduct
from nnmm_pymc.steps.conditional import QUICK_MODE, ConditionalModel
from nnmm_pymc.steps.plan import StepPlan

__all__ = ["Fingerprint", "describe_run", "differences"]

Fingerprint = dict[str, dict[str, Any]]

# Other versions of these may draw other numbers from the same state.
PACKAGES = ("nnmm-pymc", "pymc", "pytensor", "numpy", "numba", "scipy")
# Densities are compared as numbers, which another machine rounds otherwise; zeros too.
DENSITY_TOLERANCE = 1e-6
ZERO_TOLERANCE = 1e-12
SHOWN = 3


def describe_run(
    plan: StepPlan, kept: Mapping[str, str], settings: Mapping[str, Any]
) -> Fingerprint:
    """Fingerprint of a run: versions, settings, and of the model every part under its name.

    Numbers and data are there as hashes; what a formula is follows from the log density of each
    variable, or the value of what is no random one, at a fixed draw from the prior.

    Parameters
    ----------
    plan : StepPlan
    kept : dict of str to str
        How the variables that are kept are.
    settings : dict
        Arguments of `sample` that change the draws.

    Returns
    -------
    dict of str to dict, of what JSON can hold
    """
    model = plan.conditional.model
    named = [*model.basic_RVs, *model.deterministics, *model.potentials]
    observed = {rv.name: model.rvs_to_values[rv] for rv in model.observed_RVs}
    labels = {dim: v for dim, v in model.coords.items() if v is not None}
    parts = {v.name: list(ancestors([v], blockers=set(named) - {v})) for v in named}
    fingerprint = {
        "version": {name: _version(name) for name in PACKAGES} | {"code": _code()},
        "setting": dict(settings),
        "variable": _variables(plan.conditional),
        "data": {name: _digest(_arrays([value])) for name, value in observed.items()},
        "genotypes": {
            name: _digest(found) for name, part in parts.items() if (found := _dosages(part))
        },
        "labels": {dim: _digest([np.asarray(v, str)]) for dim, v in labels.items()},
        "equation": {name: _digest(_arrays(part)) for name, part in parts.items()},
        "density": _densities(plan.conditional),
        "step": dict(plan.rows),
        "option": _step_options(plan),
        "kept": dict(kept),
    }
    return json.loads(json.dumps(fingerprint, default=_plain))


def differences(stored: Fingerprint, now: Fingerprint) -> str:
    """How two runs differ, in words; empty if they do not."""
    found: dict[str, str] = {}
    for section, values in now.items():
        before = stored.get(section, {})
        for name in before | values:
            was, new = before.get(name), values.get(name)
            if not _same(was, new):
                # What else differs of the same variable follows from it.
                found.setdefault(name, _in_words(section, name, was, new))
    words = list(found.values())
    more = [f"and {len(words) - SHOWN} more"] if len(words) > SHOWN else []
    return "; ".join([*words[:SHOWN], *more])


def _in_words(section: str, name: str, was: Any, now: Any) -> str:
    if name == "code":
        return "the code of nnmm_pymc differs"
    if section in ("version", "setting"):
        return f"{name} was {was}, now {now}"
    if section in ("data", "genotypes", "labels", "equation") and (was is None or now is None):
        return f"{name!r} is {'new' if was is None else 'not there now'}"
    if section in ("data", "genotypes", "labels"):
        return f"the {section} of {name!r} differ"
    if section in ("equation", "density"):
        return f"the prior or equation of {name!r} differs"
    if section == "option":
        return f"the options of the step of {name!r} differ"
    if section == "kept":
        was, now = (f"kept {v}" if v else "not kept" for v in (was, now))
    was, now = (f"by {v}" if section == "step" and v else v or "absent" for v in (was, now))
    return f"{name!r} was {was}, now {now}"


def _same(was: Any, now: Any) -> bool:
    if isinstance(was, float) and isinstance(now, float):
        close = math.isclose(was, now, rel_tol=DENSITY_TOLERANCE, abs_tol=ZERO_TOLERANCE)
        return close or (math.isnan(was) and math.isnan(now))
    if isinstance(was, list) and isinstance(now, list):
        return len(was) == len(now) and all(map(_same, was, now))
    if isinstance(was, dict) and isinstance(now, dict):
        return was.keys() == now.keys() and all(_same(was[key], now[key]) for key in was)
    return was == now


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


@cache
def _code() -> str:
    """Hash of this package's own source, which changes between releases too."""
    folder = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return digest.hexdigest()


def _variables(conditional: ConditionalModel) -> dict[str, str]:
    """Distribution, shape and transform of each random variable."""
    model, point = conditional.model, conditional.check_points[0]
    kinds = {}
    for rv in model.free_RVs:
        transform = type(model.rvs_to_transforms[rv]).__name__
        shape = np.shape(point[model.rvs_to_values[rv].name])
        kinds[rv.name] = f"{rv.owner.op.name} of shape {shape} ({transform})"
    for rv in model.observed_RVs:
        kinds[rv.name] = f"{rv.owner.op.name} of {rv.type.ndim} dims, observed"
    return kinds


def _arrays(variables: Iterable[Variable]) -> list[np.ndarray]:
    """Numbers that stand in a graph: constants and shared data."""
    values = [
        v.get_value(borrow=True) if isinstance(v, SharedVariable) else v.data
        for v in variables
        if isinstance(v, Constant | SharedVariable)
    ]
    return [v for v in values if isinstance(v, np.ndarray) and v.dtype.kind in "biufc"]


def _dosages(variables: Iterable[Variable]) -> list[np.ndarray]:
    ops = [v.owner.op for v in variables if v.owner is not None]
    return [op.genotypes.dosages for op in ops if isinstance(op, GenotypeProduct)]


def _digest(arrays: Iterable[np.ndarray]) -> str:
    """Hash of arrays in any order."""
    digests = []
    for array in arrays:
        digest = hashlib.sha256(f"{array.dtype.str} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array))
        digests.append(digest.digest())
    return hashlib.sha256(b"".join(sorted(digests))).hexdigest()


def _densities(conditional: ConditionalModel) -> dict[str, float]:
    point = conditional.check_points[-1]
    conditional.refresh(point)
    sums = {name: factor.sum() for name, factor in conditional.factors.items()}
    for variable in conditional.model.deterministics:
        value = conditional.deterministic(variable.name).flatten().astype("float64")
        # Weights, since elements may have changed places.
        sums[variable.name] = (value * pt.cos(pt.arange(value.size))).sum()
    with np.errstate(all="ignore"):
        values = conditional.compile(list(sums.values()), mode=QUICK_MODE)(point)
    return {n: float(v) for n, v in zip(sums, values, strict=True)}


def _step_options(plan: StepPlan) -> dict[str, str]:
    """Hashes of the state that each step begins with, under the names of its variables."""
    found: dict[str, str] = {}
    for step in plan.compound.methods:
        # Arrays of our own steps follow from the model, with the rounding of a machine.
        own = type(step).__module__.startswith("nnmm_pymc.")
        proposal = getattr(step, "proposal_dist", None)
        parts = [step.sampling_state, type(proposal), getattr(proposal, "__dict__", {})]
        text = json.dumps(_options([type(step), *parts], not own), default=_plain)
        digest = hashlib.sha256(text.encode()).hexdigest()
        found |= {plan.conditional.rvs[v.name].name: digest for v in step.vars}
    return found


def _options(value: Any, arrays: bool) -> Any:
    """Numbers and words in a state, but none that are random."""
    if isinstance(value, RandomGeneratorState):
        return None
    if is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, dict):
        return [[str(k), _options(v, arrays)] for k, v in value.items()]
    if isinstance(value, list | tuple):
        return [_options(v, arrays) for v in value]
    if isinstance(value, np.ndarray):
        return _digest([value]) if arrays else value.shape
    if value is None or isinstance(value, bool | int | float | str | np.generic):
        return value
    return value.__qualname__ if isinstance(value, type) else type(value).__qualname__


def _plain(value: Any) -> Any:
    """What JSON does not know, as lists and dicts."""
    return dict(value) if isinstance(value, Mapping) else np.asarray(value).tolist()

"""What a chain keeps: draws of small variables, running moments of large ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pymc as pm
from pymc.logprob.transforms import LogOddsTransform, LogTransform
from scipy.special import expit

from nnmm_pymc.data.scratch import empty
from nnmm_pymc.errors import InputError
from nnmm_pymc.steps.conditional import ConditionalModel, Point

__all__ = ["ChainRecord", "Moments", "RecordPlan"]

#: Variables with more elements than this are kept as running moments, unless asked for by name.
LARGE = 1_000
#: Bytes that thinned draws of marker effects may take, all chains together.
EFFECT_DRAWS_BYTES = 80_000_000

# What a statistic must be to be kept.
NUMBERS = (bool, int, float, np.number, np.bool_)


@dataclass
class Moments:
    """Mean, variance and share of non-zero draws of one variable in one half of a chain.

    Welford's recurrence (Welford 1962, Technometrics 4:419). Halves are kept apart so that split
    R-hat can be computed without the draws.
    """

    mean: np.ndarray
    square: np.ndarray
    nonzero: np.ndarray
    count: int = 0

    @classmethod
    def zeros(cls, shape: tuple[int, ...]) -> Moments:
        """Empty moments of a variable of this shape."""
        return cls(np.zeros(shape), np.zeros(shape), np.zeros(shape))

    def add(self, value: np.ndarray) -> None:
        """Take in one draw."""
        self.count += 1
        change = value - self.mean
        self.mean += change / self.count
        self.square += change * (value - self.mean)
        self.nonzero += value != 0.0

    @property
    def variance(self) -> np.ndarray:
        """Sample variance of the draws."""
        return self.square / max(1, self.count - 1)


class RecordPlan:
    """Which variables a run keeps, and how.

    Parameters
    ----------
    conditional : ConditionalModel
    draws, chains : int
    keep : sequence of str
        Large variables to keep draw by draw.

    Attributes
    ----------
    stored : list of str
        Variables kept draw by draw.
    summarised : dict of str to str
        Variables kept as moments, with the name of their value variable.
    thinned : int
        Draws of each chain of which marker and random effects are kept.
    on_disk : dict of str to (chain, draw, ...) array
        Where chains write the draws of large variables, once `put_on_disk` was called.
    """

    def __init__(
        self, conditional: ConditionalModel, draws: int, chains: int, keep: Sequence[str] = ()
    ):
        model = conditional.model
        unknown = sorted(set(keep) - set(model.named_vars))
        if unknown:
            raise InputError(f"keep names {unknown[0]!r}, which is no variable of the model.")
        self.conditional, self.draws, self.chains = conditional, draws, chains
        self.on_disk: dict[str, np.ndarray] = {}
        point = conditional.check_points[0]
        free = {rv.name: value for value, rv in conditional.rvs.items()}
        sizes = {name: np.size(point[value]) for name, value in free.items()}
        values = {t.value for t in conditional.terms}
        # A row for every individual is data again, not a parameter: on request only.
        deterministics = {
            d.name: _size(model, d)
            for d in model.deterministics
            if d.name in keep
            or not (d.name in values or "individual" in model.named_vars_to_dims.get(d.name, ()))
        }
        self.stored = [
            name for name, size in (sizes | deterministics).items() if size <= LARGE or name in keep
        ]
        self.effects = [t.effects for t in conditional.terms]
        self.summarised = {
            name: value
            for name, value in free.items()
            if name not in self.stored or name in self.effects
        }
        effect_bytes = 4 * chains * sum(np.size(point[e]) for e in self.effects)
        self.thinned = min(draws, max(20, EFFECT_DRAWS_BYTES // max(1, effect_bytes)), 500)
        self.thinned_at = np.unique(np.linspace(0, draws - 1, self.thinned).round().astype(int))
        self._inverses = {
            name: (free[name], inverse)
            for name in self.stored
            if name in free and (inverse := _inverse(conditional, free[name])) is not None
        }
        self._others = [name for name in self.stored if name not in self._inverses]
        outputs = [
            conditional.natural(free[name]) if name in free else conditional.deterministic(name)
            for name in self._others
        ]
        self._read = conditional.compile(outputs, mode="FAST_COMPILE") if outputs else None

    def put_on_disk(self, scratch: Path, point: Point) -> None:
        """Keep the draws of large variables as float32 in unnamed files in a folder."""
        for name, value in self.read(point).items():
            if np.size(value) > LARGE:
                shape = (self.chains, self.draws, *np.shape(value))
                self.on_disk[name] = empty(shape, np.float32, scratch)

    def read(self, point: Point) -> dict[str, np.ndarray]:
        """Values of the variables that are kept draw by draw, on their natural scale."""
        values = {name: inverse(point[value]) for name, (value, inverse) in self._inverses.items()}
        if self._read is not None:
            values |= zip(self._others, self._read(point), strict=True)
        return values


def _inverse(conditional: ConditionalModel, value: str) -> Callable[[np.ndarray], Any] | None:
    """NumPy's function from a value variable to its natural scale, where there is one."""
    transform = conditional.transform_of(value)
    if transform is None:
        return np.asarray
    return {LogTransform: np.exp, LogOddsTransform: expit}.get(type(transform))


def _size(model: pm.Model, variable: Any) -> int:
    dims = model.named_vars_to_dims.get(variable.name)
    if dims and all(d is not None for d in dims):
        return int(np.prod([len(model.coords[d]) for d in dims]))
    shape = variable.type.shape
    if None in shape:
        return int(np.size(variable.eval({}, mode="FAST_COMPILE"))) if not dims else LARGE + 1
    return int(np.prod(shape, dtype=int))


@dataclass
class ChainRecord:
    """Everything one chain hands back."""

    stored: dict[str, np.ndarray]
    stats: dict[str, np.ndarray]
    moments: dict[str, tuple[Moments, Moments]]
    effects: dict[str, np.ndarray]
    draw: int = 0
    thinned: int = 0
    divergences: int = 0
    plan: RecordPlan | None = field(default=None, repr=False)

    @classmethod
    def start(cls, plan: RecordPlan, point: Point, chain: int = 0) -> ChainRecord:
        """Allocate what a chain needs."""
        return cls(
            stored={
                name: plan.on_disk[name][chain]
                if name in plan.on_disk
                else np.empty((plan.draws, *np.shape(v)))
                for name, v in plan.read(point).items()
            },
            stats={},
            moments={
                name: (Moments.zeros(point[v].shape), Moments.zeros(point[v].shape))
                for name, v in plan.summarised.items()
            },
            effects={
                e: np.empty((len(plan.thinned_at), *point[e].shape), np.float32)
                for e in plan.effects
            },
            plan=plan,
        )

    def add(self, point: Point, stats: list[dict[str, Any]]) -> None:
        """Take in one draw."""
        plan = self.plan
        assert plan is not None
        for name, value in plan.read(point).items():
            self.stored[name][self.draw] = value
        half = int(self.draw >= plan.draws // 2)
        for name, value in plan.summarised.items():
            self.moments[name][half].add(point[value])
        if self.draw == plan.thinned_at[min(self.thinned, len(plan.thinned_at) - 1)]:
            for name, kept in self.effects.items():
                kept[self.thinned] = point[name]
            self.thinned += 1
        for group in stats:
            for name, value in group.items():
                values = self.stats.get(name)
                if values is None and isinstance(value, NUMBERS):
                    values = self._stat(name, np.asarray(value).dtype)
                if values is not None:
                    values[self.draw] = value
                self.divergences += "diverging" in name and bool(value)
        self.draw += 1

    def _stat(self, name: str, dtype: Any) -> np.ndarray:
        if name not in self.stats:
            self.stats[name] = np.zeros(self.plan.draws, dtype)  # type: ignore[union-attr]
        return self.stats[name]

    def since(self, draw: int, thinned: int) -> dict[str, Any]:
        """What was kept draw by draw since there were so many draws, so many of them thinned."""
        return {
            "draw": self.draw,
            "thinned": self.thinned,
            "divergences": self.divergences,
            "stored": {name: v[draw : self.draw] for name, v in self.stored.items()},
            "stats": {name: v[draw : self.draw] for name, v in self.stats.items()},
            "effects": {name: v[thinned : self.thinned] for name, v in self.effects.items()},
        }

    def take(self, block: dict[str, Any]) -> None:
        """Take in what `since` gave, behind what is here."""
        new, kept = slice(self.draw, block["draw"]), slice(self.thinned, block["thinned"])
        for name, values in block["stored"].items():
            self.stored[name][new] = values
        for name, values in block["stats"].items():
            self._stat(name, values.dtype)[new] = values
        for name, values in block["effects"].items():
            self.effects[name][kept] = values
        self.draw, self.thinned = block["draw"], block["thinned"]
        self.divergences = block["divergences"]

"""`RelativesGibbs`: effects of relatives, drawn together with what is hard to tell from them.

The effects of a term with a precision matrix are drawn with those of an independent term nested in
its levels integrated out, which are drawn next: a joint draw of both. In between the variances of
the two terms trade (`nnmm_pymc.steps.trade`), or those of the only one and of the records.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnmm_pymc.joint_random_effects import JointRandomEffectsRV
from nnmm_pymc.steps.collapsed import Collapsed
from nnmm_pymc.steps.conditional import ConditionalModel, Point
from nnmm_pymc.steps.correlated import is_multivariate
from nnmm_pymc.steps.coupled_effects import CoupledRandomEffectGibbs, JointRandomEffectGibbs
from nnmm_pymc.steps.gibbs import GibbsStep
from nnmm_pymc.steps.random_effects import RandomEffectGibbs
from nnmm_pymc.steps.shares import find_trade
from nnmm_pymc.steps.terms import RandomTerm

__all__ = ["RelativesGibbs", "nested_in", "random_effect_steps"]


class RelativesGibbs(GibbsStep):
    """Joint draw of the effects of a term and of one nested in it, and trades of their variances.

    Parameters
    ----------
    vars : list of variable
        The effects of both.
    outer, inner : RandomEffectGibbs
        Steps of both terms, of which the second may be None.
    model, conditional
        As in `MarkerGibbs`.

    Attributes
    ----------
    trade : Trade, optional
    """

    name = "random_effect_gibbs"

    def __init__(
        self,
        vars,
        *,
        outer: RandomEffectGibbs,
        inner: RandomEffectGibbs | None,
        conditional: ConditionalModel,
        **kwargs: Any,
    ):
        super().__init__(vars, conditional=conditional, **kwargs)
        self.outer, self.inner = outer, inner
        assert outer.precision is not None
        parent = np.arange(outer.precision.n) if inner is None else nested_in(inner, outer)
        assert parent is not None
        self.parent = parent
        self.matrix, self.own = outer.precision.matrix, outer.precision.matrix.diagonal()
        self.trade = find_trade(conditional, outer, inner)

    def step(self, point):
        # The parts draw from the generator of the whole, whose state is kept.
        self.outer.rng = self.rng
        self.conditional.refresh(point)
        point = point.copy()
        collapsed = self.collapsed(point)
        effects = self.drawn(point, collapsed)
        if self.trade is not None:
            effects = self.trade.move(point, collapsed, effects, self.rng)
        self.outer.put(point, effects)
        if self.inner is not None:
            self.inner.rng = self.rng
            point, _ = self.inner.step(point)
        self.outer.move(point, *self.outer.cells(point))
        return point, [{}]

    def collapsed(self, point: Point) -> list[Collapsed]:
        """Every response at the variances of a point, at which effects are held."""
        outer, inner = self.outer, self.inner
        residual, weight = outer.cells(point)
        added = outer.term.held.get_value().reshape(residual.shape)
        variance = outer.variance(point)[0]
        nested = np.zeros(variance.shape)
        if inner is not None:
            added = added + inner.term.held.get_value().reshape(residual.shape)
            nested = inner.variance(point)[0]
        response, index = residual + added, self.parts[-1].term.levels.index
        found = []
        for c in range(residual.shape[1]):
            w, product = weight[:, c], weight[:, c] * response[:, c]
            found.append(
                Collapsed(
                    matrix=self.matrix,
                    own=self.own,
                    parent=self.parent,
                    weight=_by_level(index, w, len(nested)),
                    product=_by_level(index, product, len(nested)),
                    square=float(product @ response[:, c]),
                    count=int(np.count_nonzero(w)),
                    variance=variance[0, c],
                    nested=np.ascontiguousarray(nested[:, c]),
                )
            )
        return found

    def drawn(self, point: Point, collapsed: list[Collapsed]) -> np.ndarray:
        """Effects of the outer term, (level, response)."""
        diagonal = np.stack([at.diagonal for at in collapsed], axis=1)
        linear = np.stack([at.linear for at in collapsed], axis=1)
        variance = self.outer.variance(point)[0]
        return self.outer.drawn(diagonal, linear, variance, self.outer.matrix_of(point))

    @property
    def parts(self) -> list[RandomEffectGibbs]:
        """Steps of the terms, outer first."""
        return [part for part in (self.outer, self.inner) if part is not None]

    def describe(self) -> str:
        """What it does beside drawing effects one term at a time."""
        names = {v: rv.name for v, rv in self.conditional.rvs.items()}
        parts = [] if self.inner is None else [f"jointly, {self.inner.term.effects} nested"]
        if self.trade is not None:
            parts.append(f"trade of {' and '.join(names[v] for v in self.trade.variances)}")
        return "; ".join(parts)


def _by_level(index: np.ndarray, values: np.ndarray, n: int) -> np.ndarray:
    # Those without a level are counted behind the last one.
    return np.bincount(np.where(index < 0, n, index), values, n + 1)[:-1]


def nested_in(inner: RandomEffectGibbs, outer: RandomEffectGibbs) -> np.ndarray | None:
    """Level of the outer term to which each of an inner one belongs, if there is only one.

    Every record has a level of the inner term; both effects add to the same cells as they are.
    """
    a, b = outer.term.levels, inner.term.levels
    factors = [step.conditional.factors_of(step.term.held) for step in (outer, inner)]
    if factors[0] != factors[1] or outer.cells.shape != inner.cells.shape:
        return None
    places = zip(outer.cells.places, inner.cells.places, strict=True)
    plain = _adds_as_it_is(outer) and _adds_as_it_is(inner)
    if not plain or np.any(b.index < 0) or not all(np.array_equal(*pair) for pair in places):
        return None
    parent = np.full(b.n_levels, -1)
    parent[b.index] = a.index
    return parent if np.array_equal(parent[b.index], a.index) else None


def _adds_as_it_is(step: RandomEffectGibbs) -> bool:
    levels = step.term.levels
    return bool(np.all(levels.multiplier[levels.index >= 0] == 1.0))


def _kind_of(conditional: ConditionalModel, term: RandomTerm) -> type[RandomEffectGibbs]:
    if isinstance(conditional.rvs[term.effects].owner.op, JointRandomEffectsRV):
        return JointRandomEffectGibbs
    joint = (is_multivariate(conditional, name) for name in conditional.factors_of(term.held))
    return CoupledRandomEffectGibbs if any(joint) else RandomEffectGibbs


def random_effect_steps(
    conditional: ConditionalModel, free: Sequence[str]
) -> list[RandomEffectGibbs | RelativesGibbs]:
    """Steps of all random effects among some variables, each with that nested in it if there is."""
    plain, coupled = list[RandomEffectGibbs](), list[RandomEffectGibbs]()
    for term in conditional.random_terms:
        if term.effects in free:
            kind = _kind_of(conditional, term)
            own = kind([conditional.model_value(term.effects)], conditional=conditional)
            (plain if kind is RandomEffectGibbs else coupled).append(own)
    outers = [s for s in plain if s.precision is not None and _adds_as_it_is(s)]
    nested = _nested_pairs(outers, [s for s in plain if s.precision is None])
    found: list[RandomEffectGibbs | RelativesGibbs] = []
    for outer in outers:
        inner = nested.get(outer)
        variables = [v for part in (outer, inner) if part is not None for v in part.vars]
        names = [conditional.model_value(v.name) for v in variables]
        step = RelativesGibbs(names, outer=outer, inner=inner, conditional=conditional)
        if inner is not None or step.trade is not None:
            plain = [p for p in plain if p is not outer and p is not inner]
            found.append(step)
    return [*found, *plain, *coupled]


def _nested_pairs(
    outers: Sequence[RandomEffectGibbs], inners: Sequence[RandomEffectGibbs]
) -> dict[RandomEffectGibbs, RandomEffectGibbs]:
    """One inner term for an outer one, those first of which fewest levels share one.

    Cows are nested in themselves and in their dams: they belong to the former.
    """
    pairs = []
    for outer in outers:
        for inner in inners:
            parent = nested_in(inner, outer)
            if parent is not None:
                pairs.append((len(parent) / len(np.unique(parent)), outer, inner))
    found: dict[RandomEffectGibbs, RandomEffectGibbs] = {}
    for _, outer, inner in sorted(pairs, key=lambda pair: pair[0]):
        if outer not in found and inner not in found.values():
            found[outer] = inner
    return found

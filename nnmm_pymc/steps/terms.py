"""Marker and random effects in a model: what they multiply, and the value they make."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pymc as pm
from pytensor.compile.ops import ViewOp
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Constant, Variable
from pytensor.graph.traversal import ancestors
from pytensor.tensor.elemwise import DimShuffle

from nnmm_pymc.distributions import GenotypeProduct, MarkerEffectsRV
from nnmm_pymc.errors import InputError
from nnmm_pymc.joint_effects import joint_effects_of
from nnmm_pymc.joint_random_effects import JointRandomEffectsRV
from nnmm_pymc.kernels.genotypes import genetic_values
from nnmm_pymc.kernels.packed import NOT_PACKED, Packed
from nnmm_pymc.random_effects import LevelValue, RandomEffectsRV

__all__ = [
    "HeldTerm",
    "MarkerTerm",
    "RandomTerm",
    "find_random_terms",
    "find_terms",
    "marker_effects_of",
]


@dataclass(eq=False)
class HeldTerm:
    """Effects, and the name of their value, which everything but their own step sees as data.

    Attributes
    ----------
    held : shared variable
        The value, in the conditional model.
    current : array, optional
        Effects to which it belongs.
    """

    effects: str
    value: str
    held: Any = field(default=None, repr=False, kw_only=True)
    current: np.ndarray | None = field(default=None, repr=False, kw_only=True)

    @property
    def n_individuals(self) -> int:
        """Rows of the value."""
        raise NotImplementedError

    def exact_value(self, effects: np.ndarray) -> np.ndarray:
        """The value of `effects`, in the shape of the held value."""
        raise NotImplementedError

    def hold(self, effects: np.ndarray, value: np.ndarray) -> None:
        """Set the held value that belongs to `effects`."""
        self.held.set_value(value, borrow=True)
        self.current = effects


@dataclass(eq=False)
class MarkerTerm(HeldTerm):
    """Marker effects, the genotypes they multiply, and the genetic value that holds the product."""

    dosages: np.ndarray
    centre: np.ndarray
    packed: Packed = NOT_PACKED

    @property
    def n_individuals(self) -> int:
        return self.dosages.shape[1]

    def exact_value(self, effects: np.ndarray) -> np.ndarray:
        columns = np.ascontiguousarray(effects.reshape(len(self.dosages), -1))
        out = genetic_values(self.dosages, self.centre, columns).T
        return np.ascontiguousarray(out).reshape(-1, *effects.shape[1:])


@dataclass(eq=False)
class RandomTerm(HeldTerm):
    """Random effects and the level of each individual."""

    levels: LevelValue

    @property
    def n_individuals(self) -> int:
        return len(self.levels.index)

    def exact_value(self, effects: np.ndarray) -> np.ndarray:
        return self.levels.of(effects)


def marker_effects_of(model: pm.Model) -> list[Any]:
    """All `MarkerEffects` variables of a model."""
    return [rv for rv in model.free_RVs if isinstance(rv.owner.op, MarkerEffectsRV)]


def _strip_views(variable: Variable) -> Variable:
    """The variable behind the view of a Deterministic and behind axes of length one."""
    while variable.owner is not None:
        op = variable.owner.op
        kept = [d for d in op.new_order if d != "x"] if isinstance(op, DimShuffle) else None
        if not isinstance(op, ViewOp) and (kept is None or kept != sorted(kept)):
            break
        variable = variable.owner.inputs[0]
    return variable


def find_terms(model: pm.Model) -> list[MarkerTerm]:
    """Marker effects that multiply a matrix of data.

    Others, such as weights of omics, are left out.

    Raises
    ------
    InputError
        If the product with genotypes has no name, so that it cannot be held.
    """
    effects = [*marker_effects_of(model), *joint_effects_of(model)]
    found = [_marker_term(model, each) for each in effects]
    return [term for term in found if term is not None]


def _marker_term(model: pm.Model, effects: Any) -> MarkerTerm | None:
    name = effects.name
    for deterministic in model.deterministics:
        product = _strip_views(deterministic)
        if product.owner is None:
            continue
        inputs = [_strip_views(i) for i in product.owner.inputs]
        op = product.owner.op
        if isinstance(op, GenotypeProduct) and inputs[0] is effects:
            genotypes = op.genotypes
            return MarkerTerm(
                name,
                deterministic.name,
                genotypes.dosages,
                genotypes.mean.astype(np.float32),
                genotypes.packed,
            )
        if "dot" in type(op).__name__.lower() or "matmul" in str(op).lower():
            matrix = inputs[0]
            if len(inputs) == 2 and inputs[1] is effects and _is_data(matrix):
                return MarkerTerm(name, deterministic.name, *_shifted(_data(matrix)))
    variables = [*model.basic_RVs, *model.deterministics, *model.potentials]
    products = (v.owner for v in ancestors(variables) if v.owner is not None)
    if any(isinstance(a.op, GenotypeProduct) and a.inputs[0] is effects for a in products):
        raise InputError(
            f"The genetic value of the marker effects {name!r} has no name; write "
            f"pm.Deterministic('genetic_value', genetic_value(genotypes, {name})) in the model."
        )
    return None


def _shifted(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Dosages and centres whose difference is the matrix: a negative dosage would mean missing."""
    least = matrix.min(axis=0)
    dosages = np.ascontiguousarray((matrix - least).T, dtype=np.float32)
    return dosages, (-least).astype(np.float32)


def _is_data(variable: Variable) -> bool:
    return isinstance(variable, Constant | SharedVariable)


def _data(variable: Any) -> np.ndarray:
    if isinstance(variable, Constant):
        return np.asarray(variable.data)
    return np.asarray(variable.get_value(borrow=True))


def find_random_terms(model: pm.Model) -> list[RandomTerm]:
    """All `RandomEffects` of a model.

    Raises
    ------
    InputError
        If what they add to the individuals has no name, so that it cannot be held.
    """
    found = []
    for effects in model.free_RVs:
        if not isinstance(effects.owner.op, RandomEffectsRV | JointRandomEffectsRV):
            continue
        for deterministic in model.deterministics:
            product = _strip_views(deterministic).owner
            if product is not None and isinstance(product.op, LevelValue):
                if _strip_views(product.inputs[0]) is effects and not product.op.transposed:
                    found.append(RandomTerm(str(effects.name), str(deterministic.name), product.op))
                    break
        else:
            raise InputError(
                f"The value of the random effects {effects.name!r} has no name; write "
                f"pm.Deterministic('value', level_value({effects.name}, index)) in the model."
            )
    return found

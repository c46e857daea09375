"""The distribution of random effects, independent or correlated, and the values they add."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor.tensor as pt
from pymc.distributions.dist_math import check_parameters
from pymc.distributions.distribution import Continuous, SymbolicRandomVariable, _support_point
from pymc.distributions.shape_utils import rv_size_is_none
from pymc.logprob.abstract import _logprob
from pymc.pytensorf import normalize_rng_param
from pytensor.tensor.random.basic import normal
from pytensor.tensor.random.utils import normalize_size_param

from nnmm_pymc.data.pedigree import Pedigree
from nnmm_pymc.data.precision import Precision
from nnmm_pymc.errors import InputError
from nnmm_pymc.opaque import LinearMap

__all__ = ["LevelValue", "RandomEffects", "RandomEffectsRV", "given_precision", "level_value"]


class RandomEffectsRV(SymbolicRandomVariable):
    """Random variable behind `RandomEffects`; `precision` is None where effects are independent."""

    name = "random_effects"
    extended_signature = "[rng],[size],()->[rng],()"
    _print_name = ("RandomEffects", "\\operatorname{RandomEffects}")

    def __init__(self, *args: Any, precision: Precision | None = None, **kwargs: Any):
        self.precision = precision
        super().__init__(*args, **kwargs)

    @classmethod
    def rv_op(cls, variance, *, precision: Precision | None = None, size=None, rng=None):
        variance = pt.as_tensor(variance)
        rng, size = normalize_rng_param(rng), normalize_size_param(size)
        if rv_size_is_none(size):
            size = variance.shape
        next_rng, white = normal(size=size, rng=rng, return_next_rng=True)
        effects = white if precision is None else Coloured(precision)(white)
        inner = [rng, size, variance]
        outputs = [next_rng, pt.sqrt(variance) * effects]
        return cls(inputs=inner, outputs=outputs, precision=precision)(*inner)


def given_precision(precision: Any, of: str) -> Precision | None:
    """Q of what a distribution was given: of relatives, a matrix, or none.

    Raises
    ------
    InputError
        It is neither a `Pedigree` nor a `Precision`.
    """
    if isinstance(precision, Pedigree):
        return precision.inverse()
    if precision is not None and not isinstance(precision, Precision):
        raise InputError(
            f"{of}: precision is {type(precision).__name__}; give a Pedigree, or a Precision "
            "(Precision.of makes one of a matrix)."
        )
    return precision


class RandomEffects(Continuous):
    r"""Random effects of the levels of a factor, of individuals, of maternal parents, ...

    .. math:: u \sim N(0, \sigma^2 Q^{-1})

    Parameters
    ----------
    name : str
    variance : tensor_like
        :math:`\sigma^2`; one value, or one for each column of the effects.
    precision : Pedigree or Precision, optional
        Q: the inverse of the numerator relationship matrix, of H (`nnmm_pymc.single_step`), or a
        precision matrix of your own. Effects are independent without one.
    dims : tuple of str
        ``("level", "trait")``, or ``"level"`` for a single response.

    Notes
    -----
    Multiply them out with `level_value`, under a name of its own, so that the sampler can draw
    whole vectors of them (`nnmm_pymc.steps.random_effects`). The log density is that of the vector,
    the log determinant of Q included, in equal parts for each level.

    Raises
    ------
    InputError
        The precision is neither a `Pedigree` nor a `Precision`.

    Examples
    --------
    >>> import pymc as pm
    >>> with pm.Model(coords={"herd": ["a", "b"]}):
    ...     herd = RandomEffects("herd", variance=0.5, dims="herd")
    ...     value = pm.Deterministic("herd_value", level_value(herd, [0, 0, 1]))
    """

    rv_type = RandomEffectsRV
    rv_op = RandomEffectsRV.rv_op

    @classmethod
    def dist(cls, variance=1.0, precision: Pedigree | Precision | None = None, **kwargs):
        precision = given_precision(precision, cls.__name__)
        return super().dist([pt.as_tensor(variance)], precision=precision, **kwargs)


@_support_point.register(RandomEffectsRV)
def _random_effects_support_point(op, rv, *inputs):
    return pt.zeros_like(rv)


@_logprob.register(RandomEffectsRV)
def _random_effects_logprob(op, values, rng, size, variance, **kwargs):
    (value,) = values
    q = op.precision
    log_determinant = 0.0 if q is None else q.log_determinant / q.n
    square = value**2 if q is None else value * PrecisionProduct(q)(value)
    density = -0.5 * (square / variance + pt.log(2.0 * np.pi * variance) - log_determinant)
    return check_parameters(density, pt.all(variance > 0.0), msg="variance > 0")


class _OfPrecision(LinearMap):
    """A map of the effects that a precision matrix is of."""

    __props__ = ("precision",)

    def __init__(self, precision: Precision):
        self.precision = precision

    @property
    def length(self) -> int:
        return self.precision.n


class Coloured(_OfPrecision):
    """Effects with a precision matrix from independent standard normal numbers."""

    def perform(self, node, inputs, output_storage):
        output_storage[0][0] = np.ascontiguousarray(self.precision.coloured(inputs[0]))


class PrecisionProduct(_OfPrecision):
    """Precision matrix times effects; its own gradient, being symmetric."""

    def perform(self, node, inputs, output_storage):
        output_storage[0][0] = np.ascontiguousarray(self.precision.matrix @ inputs[0])

    def pullback(self, inputs, outputs, output_grads):
        return [self(output_grads[0])]


class LevelValue(LinearMap):
    """The effect of each individual's level, times a number of its own.

    Parameters
    ----------
    index : (individual,) array of int
        Level; -1 for none, which adds nothing.
    multiplier : (individual,) array
    n_levels : int
    transposed : bool
        Map ``(individual, k)`` to sums ``(level, k)`` instead; this is the gradient.
    """

    def __init__(self, index: Any, multiplier: Any, n_levels: int, transposed: bool = False):
        self.index, self.multiplier = index, multiplier
        self.n_levels, self.transposed = n_levels, transposed

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, LevelValue)
            and self.index is other.index
            and self.multiplier is other.multiplier
            and self.transposed == other.transposed
        )

    def __hash__(self) -> int:
        return hash((id(self.index), id(self.multiplier), self.transposed))

    @property
    def length(self) -> int:
        return self.n_levels if self.transposed else len(self.index)

    def of(self, effects: np.ndarray) -> np.ndarray:
        """Values (individual, ...) of effects (level, ...)."""
        some = self.multiplier * (self.index >= 0)
        return effects[self.index] * some.reshape(-1, *[1] * (effects.ndim - 1))

    def perform(self, node, inputs, output_storage):
        if not self.transposed:
            output_storage[0][0] = self.of(inputs[0])
            return
        out = np.zeros((self.n_levels, *inputs[0].shape[1:]))
        own = self.index >= 0
        shape = (-1, *[1] * (inputs[0].ndim - 1))
        np.add.at(out, self.index[own], (inputs[0] * self.multiplier.reshape(shape))[own])
        output_storage[0][0] = out

    def pullback(self, inputs, outputs, output_grads):
        other = LevelValue(self.index, self.multiplier, self.n_levels, not self.transposed)
        return [other(output_grads[0])]


def level_value(effects, index: Any, multiplier: Any = None):
    """What the random effects of its level add to each individual.

    Parameters
    ----------
    effects : tensor, (level,) or (level, k)
        A `RandomEffects` variable.
    index : (individual,) array of int
        Level of each individual; -1 for none.
    multiplier : (individual,) array, optional
        Of a random slope: the covariate.

    Returns
    -------
    tensor, (individual,) or (individual, k)
        Wrap it in ``pm.Deterministic(name, ...)`` so that the sampler can find it.

    Raises
    ------
    InputError
        A level is out of range, or the multiplier has another length.
    """
    index = np.asarray(index, np.int64)
    multiplier = np.ones(len(index)) if multiplier is None else np.asarray(multiplier, float)
    n_levels = effects.type.shape[0]
    if n_levels is None:
        n_levels = int(effects.shape[0].eval(mode="FAST_COMPILE"))
    if len(index) and not -1 <= index.min() <= index.max() < n_levels:
        raise InputError(f"level_value: a level of {effects.name!r} is not one of its {n_levels}.")
    if multiplier.shape != index.shape:
        raise InputError(
            f"level_value: {multiplier.shape} multipliers for {index.shape} levels; give one each."
        )
    return LevelValue(index, multiplier, n_levels)(effects)

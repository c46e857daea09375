"""The distribution of marker effects on several traits together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pymc.distributions.dist_math import check_parameters
from pymc.distributions.distribution import Continuous, SymbolicRandomVariable, _support_point
from pymc.distributions.shape_utils import implicit_size_from_params, rv_size_is_none
from pymc.logprob.abstract import _logprob
from pymc.pytensorf import normalize_rng_param
from pytensor.tensor.random.basic import normal, uniform
from pytensor.tensor.random.utils import normalize_size_param

from nnmm_pymc.errors import InputError

__all__ = [
    "JointMarkerEffects",
    "JointMarkerEffectsRV",
    "all_patterns",
    "joint_effects_of",
    "pattern_codes",
    "patterns_of",
]


def all_patterns(n_traits: int) -> np.ndarray:
    """The 2^T patterns of traits that a marker may reach, (2^T, T) bool; none first, all last."""
    codes = np.arange(2**n_traits)
    return (codes[:, None] >> np.arange(n_traits)) % 2 == 1


class JointMarkerEffectsRV(SymbolicRandomVariable):
    """Random variable behind `JointMarkerEffects`."""

    name = "joint_marker_effects"
    extended_signature = "[rng],[size],(d),(d,t),(t,t)->[rng],(t)"
    _print_name = ("JointMarkerEffects", "\\operatorname{JointMarkerEffects}")

    @classmethod
    def rv_op(cls, probabilities, patterns, covariance, *, size=None, rng=None):
        rng, size = normalize_rng_param(rng), normalize_size_param(size)
        inner = [rng, size, probabilities, patterns, covariance]
        if rv_size_is_none(size):
            size = implicit_size_from_params(*inner[2:], ndims_params=cls.ndims_params)
        next_rng, u = uniform(size=size, rng=rng, return_next_rng=True)
        shape = pt.concatenate([size, [patterns.type.shape[1]]])
        next_rng, white = normal(size=shape, rng=next_rng, return_next_rng=True)
        upper = pt.cumsum(probabilities, axis=-1)[..., :-1]
        chosen = pt.sum(u[..., None] >= upper, axis=-1)
        # The effects of a pattern are distributed as those of the same traits among all.
        draws = (white @ pt.linalg.cholesky(covariance).T) * patterns[chosen]
        return cls(inputs=inner, outputs=[next_rng, draws])(*inner)


class JointMarkerEffects(Continuous):
    r"""Marker effects on T traits: a pattern says which are not zero, and those are correlated.

    .. math::
        P(\text{pattern}_j = d) = \Pi_d, \quad
        b_{jS} | d \sim N(0, G_{SS}), \quad b_{jt} = 0 \text{ for } t \notin S

    with S the traits of pattern d. With one pattern, of all traits, it is ridge regression with
    correlated effects.

    Parameters
    ----------
    name : str
    probabilities : (D,) or (marker, D) tensor_like
        :math:`\Pi`, which sum to 1.
    patterns : (D, T) array of bool
        All different; all :math:`2^T` by default.
    covariance : (T, T) tensor_like
        G.
    dims : tuple of str
        ``("marker", "trait")``.

    Notes
    -----
    The density of the effects of a marker is with respect to Lebesgue measure on those that are not
    zero. `nnmm_pymc.steps.JointMarkerGibbs` draws them, and is assigned by itself.

    Raises
    ------
    InputError
        Patterns are no array of 0 and 1, or two are the same.

    References
    ----------
    Cheng, Kizilkaya, Zeng, Garrick, Fernando (2018) Genetics 209:89.

    Examples
    --------
    >>> import numpy as np
    >>> import pymc as pm
    >>> with pm.Model(coords={"marker": ["snp1", "snp2"], "trait": ["y1", "y2"]}):
    ...     shares = pm.Dirichlet("shares", np.ones(4))
    ...     effects = JointMarkerEffects(
    ...         "effects", shares, covariance=np.eye(2), dims=("marker", "trait")
    ...     )
    """

    rv_type = JointMarkerEffectsRV
    rv_op = JointMarkerEffectsRV.rv_op

    @classmethod
    def dist(cls, probabilities, patterns=None, covariance=None, **kwargs):
        probabilities, covariance = pt.as_tensor(probabilities), pt.as_tensor(covariance)
        if patterns is None:
            patterns = all_patterns(int(covariance.shape[-1].eval(mode="FAST_COMPILE")))
        given = np.asarray(patterns)
        if given.ndim != 2 or not np.isin(given, (0, 1)).all():
            raise InputError("patterns must be rows of 0 and 1, a column for each trait.")
        if len(np.unique(given, axis=0)) < len(given):
            raise InputError("Two of the patterns are the same; give each once.")
        return super().dist([probabilities, pt.constant(given.astype(float)), covariance], **kwargs)


@_support_point.register(JointMarkerEffectsRV)
def _joint_effects_support_point(op, rv, *inputs):
    return pt.zeros_like(rv)


@_logprob.register(JointMarkerEffectsRV)
def _joint_effects_logprob(op, values, rng, size, probabilities, patterns, covariance, **kwargs):
    (value,) = values
    n_traits = patterns.shape[1]
    both = patterns[:, :, None] * patterns[:, None, :]
    # Traits that a pattern leaves out have a one on the diagonal: their effects are zero.
    inside = both * covariance + pt.eye(n_traits) * (1.0 - patterns)[:, :, None]
    log_det = 2.0 * pt.sum(pt.log(_diagonals(pt.linalg.cholesky(inside))), axis=-1)
    square = pt.sum((value @ pt.linalg.inv(inside)) * value, axis=-1)
    counts = pt.sum(patterns, axis=1)
    log_slab = -0.5 * (counts * np.log(2.0 * np.pi) + log_det)[:, None] - 0.5 * square
    is_pattern = pt.all(pt.eq(pt.neq(value, 0.0)[None], patterns[:, None] > 0.5), axis=-1)
    own = pt.atleast_2d(probabilities).T
    allowed = own > 0.0
    log_weight = pt.log(pt.where(allowed, own, 1.0)) + log_slab
    possible = is_pattern & allowed
    density = pt.sum(pt.where(possible, log_weight, 0.0), axis=0)
    return check_parameters(
        pt.where(pt.any(possible, axis=0), density, -np.inf),
        pt.all(probabilities >= 0.0),
        pt.all(pt.abs(pt.sum(probabilities, axis=-1) - 1.0) < 1e-9),
        msg="probabilities >= 0, sum(probabilities) = 1",
    )


def _diagonals(matrices: Any) -> Any:
    return pt.diagonal(matrices, axis1=-2, axis2=-1)


def patterns_of(effects: Any) -> np.ndarray:
    """Patterns of a `JointMarkerEffects` variable, (D, T) bool."""
    return np.asarray(effects.owner.inputs[3].data) > 0.5


def pattern_codes(included: np.ndarray) -> np.ndarray:
    """Each row of traits that are in a pattern as a binary number, the first trait last."""
    return included @ (1 << np.arange(included.shape[1]))


def joint_effects_of(model: pm.Model) -> list[Any]:
    """All `JointMarkerEffects` variables of a model."""
    return [rv for rv in model.free_RVs if isinstance(rv.owner.op, JointMarkerEffectsRV)]

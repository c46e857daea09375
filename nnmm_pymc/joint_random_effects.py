"""The distribution of random effects on several traits that correlate."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor.tensor as pt
from pymc.distributions.distribution import Continuous, SymbolicRandomVariable, _support_point
from pymc.logprob.abstract import _logprob
from pymc.pytensorf import normalize_rng_param
from pytensor.tensor.random.basic import normal
from pytensor.tensor.random.utils import normalize_size_param

from nnmm_pymc.data.pedigree import Pedigree
from nnmm_pymc.data.precision import Precision
from nnmm_pymc.random_effects import Coloured, PrecisionProduct, given_precision

__all__ = ["JointRandomEffects", "JointRandomEffectsRV"]


class JointRandomEffectsRV(SymbolicRandomVariable):
    """Random variable behind `JointRandomEffects`."""

    name = "joint_random_effects"
    extended_signature = "[rng],[size],(t,t)->[rng],(t)"
    _print_name = ("JointRandomEffects", "\\operatorname{JointRandomEffects}")

    def __init__(self, *args: Any, precision: Precision | None = None, **kwargs: Any):
        self.precision = precision
        super().__init__(*args, **kwargs)

    @classmethod
    def rv_op(cls, covariance, *, precision: Precision | None = None, size=None, rng=None):
        rng, size = normalize_rng_param(rng), normalize_size_param(size)
        shape = pt.concatenate([size, [covariance.shape[0]]])
        next_rng, white = normal(size=shape, rng=rng, return_next_rng=True)
        effects = white if precision is None else Coloured(precision)(white)
        outputs = [next_rng, effects @ pt.linalg.cholesky(covariance).T]
        inner = [rng, size, covariance]
        return cls(inputs=inner, outputs=outputs, precision=precision)(*inner)


class JointRandomEffects(Continuous):
    r"""Random effects of levels on T traits, those of a level correlated: a multi-trait model.

    .. math:: \mathrm{vec}(U) \sim N(0, G \otimes Q^{-1})

    Parameters
    ----------
    name : str
    covariance : (T, T) tensor_like
        G: of an additive effect, the genetic covariance matrix.
    precision : Pedigree or Precision, optional
        Q, as in `RandomEffects`.
    dims : tuple of str
        ``("level", "trait")``.

    Notes
    -----
    Multiply them out with `level_value`, as those of `RandomEffects`. The log density is that of
    the matrix, in parts for each level that sum to it.

    Raises
    ------
    InputError
        The precision is neither a `Pedigree` nor a `Precision`.

    References
    ----------
    Henderson, Quaas (1976) J Anim Sci 43:1188.

    Examples
    --------
    >>> import numpy as np
    >>> import pymc as pm
    >>> with pm.Model(coords={"cow": ["a", "b"], "trait": ["milk", "fat"]}):
    ...     cow = JointRandomEffects("cow", covariance=np.eye(2), dims=("cow", "trait"))
    """

    rv_type = JointRandomEffectsRV
    rv_op = JointRandomEffectsRV.rv_op

    @classmethod
    def dist(cls, covariance, precision: Pedigree | Precision | None = None, **kwargs):
        precision = given_precision(precision, cls.__name__)
        return super().dist([pt.as_tensor(covariance)], precision=precision, **kwargs)


@_support_point.register(JointRandomEffectsRV)
def _joint_random_effects_support_point(op, rv, *inputs):
    return pt.zeros_like(rv)


@_logprob.register(JointRandomEffectsRV)
def _joint_random_effects_logprob(op, values, rng, size, covariance, **kwargs):
    (value,) = values
    q, n_traits = op.precision, covariance.shape[0]
    product: Any = value if q is None else PrecisionProduct(q)(value)
    lower = pt.linalg.cholesky(covariance)
    log_det = 2.0 * pt.sum(pt.log(pt.diagonal(lower)))
    square = pt.sum((product @ pt.linalg.inv(covariance)) * value, axis=-1)
    log_q = 0.0 if q is None else q.log_determinant / q.n
    return -0.5 * (square + log_det + n_traits * (np.log(2.0 * np.pi) - log_q))

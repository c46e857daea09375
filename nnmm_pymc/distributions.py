"""The one distribution of marker effects, and the genetic values they make."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor.tensor as pt
from pymc.distributions.dist_math import check_parameters
from pymc.distributions.distribution import Continuous, SymbolicRandomVariable, _support_point
from pymc.distributions.shape_utils import implicit_size_from_params, rv_size_is_none
from pymc.logprob.abstract import _logprob
from pymc.pytensorf import normalize_rng_param
from pytensor.graph.basic import Variable
from pytensor.tensor.random.basic import normal, uniform
from pytensor.tensor.random.utils import normalize_size_param

from nnmm_pymc.alphabet import MarkerPrior
from nnmm_pymc.errors import InputError
from nnmm_pymc.kernels.genotypes import genetic_values, marker_products
from nnmm_pymc.opaque import LinearMap

__all__ = ["GenotypeProduct", "MarkerEffects", "MarkerEffectsRV", "genetic_value"]


class MarkerEffectsRV(SymbolicRandomVariable):
    """Random variable behind `MarkerEffects`; its two parameters end in an axis of slab classes."""

    name = "marker_effects"
    extended_signature = "[rng],[size],(c),(c)->[rng],()"
    _print_name = ("MarkerEffects", "\\operatorname{MarkerEffects}")

    @classmethod
    def rv_op(cls, inclusion, slab_variance, *, size=None, rng=None):
        inclusion, slab_variance = pt.as_tensor(inclusion), pt.as_tensor(slab_variance)
        rng, size = normalize_rng_param(rng), normalize_size_param(size)
        if rv_size_is_none(size):
            size = implicit_size_from_params(
                inclusion, slab_variance, ndims_params=cls.ndims_params
            )
        next_rng, u = uniform(size=size, rng=rng, return_next_rng=True)
        next_rng, z = normal(size=size, rng=next_rng, return_next_rng=True)
        upper = pt.cumsum(inclusion, axis=-1)
        in_class = (u[..., None] < upper) & (u[..., None] >= upper - inclusion)
        draws = z * pt.sqrt(pt.sum(pt.where(in_class, slab_variance, 0.0), axis=-1))
        return cls(inputs=[rng, size, inclusion, slab_variance], outputs=[next_rng, draws])(
            rng, size, inclusion, slab_variance
        )


class MarkerEffects(Continuous):
    r"""Marker effects: exactly zero, or drawn from a normal (or one of several) around zero.

    .. math::
        p(a) = (1 - \pi)\,\delta_0(a) + \pi\, N(a; 0, v)

    Every prior of the Bayesian alphabet is this distribution with its own hyper-priors, written
    as plain PyMC variables: any expression that broadcasts to the shape of the effects will do.

    Parameters
    ----------
    name : str, optional
        Name of the variable, inside a model. Without a name a description of a prior is returned,
        for ``Equation(..., priors={"geno": MarkerEffects(inclusion=..., slab_variance=...)})``.
    inclusion : tensor_like, default 1
        Probability :math:`\pi` that a marker has an effect (JWAS's :math:`\pi` is the opposite:
        the probability that it has none). 0 excludes a marker, 1 always includes it.
    slab_variance : tensor_like
        Variance :math:`v` of an effect that is not zero.
    classes : bool, default False
        If true the last axis of `inclusion` and `slab_variance` runs over several normals of the
        slab (BayesR); the spike has the probability that they leave.
    dims : tuple of str
        ``("marker", "omic")``, or ``"marker"`` for a single response.

    Notes
    -----
    The density of an included effect is with respect to Lebesgue measure, of an excluded one with
    respect to a point mass at zero: :math:`\log(1-\pi)` at zero, :math:`\log \pi + \log N(a; 0, v)`
    elsewhere. NUTS cannot sample this; `nnmm_pymc.MarkerGibbs` does and is assigned by itself.

    References
    ----------
    Meuwissen, Hayes, Goddard (2001) Genetics 157:1819; Habier et al. (2011) BMC Bioinformatics
    12:186; Erbe et al. (2012) J Dairy Sci 95:4114.

    Examples
    --------
    >>> import pymc as pm
    >>> from nnmm_pymc import MarkerEffects
    >>> with pm.Model(coords={"marker": ["snp1", "snp2"]}):
    ...     inclusion = pm.Beta("inclusion", 1, 9)
    ...     effects = MarkerEffects("effects", inclusion, slab_variance=0.1, dims="marker")
    """

    rv_type = MarkerEffectsRV
    rv_op = MarkerEffectsRV.rv_op

    def __new__(cls, name: str | None = None, *args: Any, **kwargs: Any):
        if name is None:
            return MarkerPrior(*args, **kwargs)
        return super().__new__(cls, name, *args, **kwargs)

    @classmethod
    def dist(cls, inclusion=1.0, slab_variance=1.0, *, classes: bool = False, **kwargs):
        inclusion, slab_variance = (
            pt.as_tensor(np.asarray(p, float) if not isinstance(p, Variable) else p)
            for p in (inclusion, slab_variance)
        )
        if not classes:
            inclusion, slab_variance = inclusion[..., None], slab_variance[..., None]
        lengths = [p.type.shape[-1] for p in (inclusion, slab_variance)]
        if None not in lengths and lengths[0] != lengths[1]:
            raise InputError(
                f"MarkerEffects: inclusion has {lengths[0]} classes and slab_variance "
                f"{lengths[1]}; give one entry of each for every normal of the slab."
            )
        return super().dist([inclusion, slab_variance], **kwargs)


@_support_point.register(MarkerEffectsRV)
def _marker_effects_support_point(op, rv, *inputs):
    return pt.zeros_like(rv)


@_logprob.register(MarkerEffectsRV)
def _marker_effects_logprob(op, values, rng, size, inclusion, slab_variance, **kwargs):
    (value,) = values
    # log(0) stands in a branch that is never taken; it must not put NaN into the other's gradient.
    excluded = pt.eq(value, 0.0)
    spike = 1.0 - pt.sum(inclusion, axis=-1)
    log_spike = pt.where(spike > 0.0, pt.log(pt.where(spike > 0.0, spike, 1.0)), -np.inf)
    open_ = inclusion > 0.0
    log_inclusion = pt.where(open_, pt.log(pt.where(open_, inclusion, 1.0)), -np.inf)
    log_slab = (
        log_inclusion
        - 0.5 * pt.log(2.0 * np.pi * slab_variance)
        - 0.5 * value[..., None] ** 2 / slab_variance
    )
    if inclusion.type.shape[-1] == 1:
        log_slab = log_slab[..., 0]
    else:
        any_open = pt.any(open_, axis=-1)
        log_slab = pt.logsumexp(pt.where(any_open[..., None], log_slab, 0.0), axis=-1)
        log_slab = pt.where(any_open, log_slab, -np.inf)
    return check_parameters(
        pt.where(excluded, log_spike, log_slab),
        pt.all(inclusion >= 0.0),
        pt.all(spike >= -1e-9),
        pt.all(slab_variance > 0.0),
        msg="0 <= inclusion, sum(inclusion) <= 1, slab_variance > 0",
    )


class GenotypeProduct(LinearMap):
    """Centred genotypes times marker effects, without a float copy of the genotypes.

    Parameters
    ----------
    genotypes : Genotypes
        Held by reference: models, their clones and forked chains share one matrix.
    transposed : bool
        Map ``(individual, k)`` to ``(marker, k)`` instead; this is the gradient.
    """

    __props__ = ("genotypes", "transposed")

    def __init__(self, genotypes, transposed: bool = False):
        self.genotypes, self.transposed = genotypes, transposed

    @property
    def length(self) -> int:
        return self.genotypes.p if self.transposed else self.genotypes.n

    def perform(self, node, inputs, output_storage):
        values = inputs[0].reshape(inputs[0].shape[0], -1)
        genotypes = self.genotypes
        centre = genotypes.mean.astype(np.float32)
        if self.transposed:
            rows = np.ascontiguousarray(values.T, float)
            out = marker_products(genotypes.dosages, centre, rows)
        else:
            out = genetic_values(genotypes.dosages, centre, np.ascontiguousarray(values, float)).T
        output_storage[0][0] = np.ascontiguousarray(out).reshape(-1, *inputs[0].shape[1:])

    def pullback(self, inputs, outputs, output_grads):
        return [type(self)(self.genotypes, not self.transposed)(output_grads[0])]


def genetic_value(genotypes, effects):
    """Genetic values of all individuals: centred dosages times marker effects.

    Parameters
    ----------
    genotypes : Genotypes
        From `read_genotypes`.
    effects : tensor, (marker,) or (marker, k)
        A `MarkerEffects` variable.

    Returns
    -------
    tensor, (individual,) or (individual, k)
        Wrap it in ``pm.Deterministic(name, ...)`` so that the sampler can find it.
    """
    return GenotypeProduct(genotypes)(effects)

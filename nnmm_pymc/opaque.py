"""Operations of a model that PyTensor does not look into: NumPy or a kernel does them."""

from __future__ import annotations

import warnings
from typing import Any

import pytensor.tensor as pt
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op
from pytensor.link.numba.dispatch.basic import generate_fallback_impl, numba_funcify

__all__ = ["LinearMap"]


class LinearMap(Op):
    """A linear map of the rows of its argument, column by column."""

    @property
    def length(self) -> int:
        """Rows of what comes out."""
        raise NotImplementedError

    def make_node(self, *inputs: Any) -> Apply:
        values = pt.as_tensor(inputs[0]).astype("float64")
        shape = (self.length, *values.type.shape[1:])
        return Apply(self, [values], [pt.tensor(dtype="float64", shape=shape)])

    def infer_shape(self, node, shapes):
        return [(pt.constant(self.length, dtype="int64"), *shapes[0][1:])]


@numba_funcify.register(LinearMap)
def _numba_linear_map(op, node=None, **kwargs):
    # Already compiled inside; PyTensor need not warn that it calls Python for it.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return generate_fallback_impl(op, node=node, **kwargs)

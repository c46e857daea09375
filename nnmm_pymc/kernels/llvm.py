"""Building blocks of the loops that are written as LLVM vectors.

Addresses, offsets and strides are in bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core.registry import cpu_target

__all__ = ["declare", "load_vector", "loop", "pointer", "prefetch", "processor_has", "splat"]


def processor_has(*features: str) -> bool:
    """Whether the processor that numba compiles for has these, in the words of LLVM."""
    own = cpu_target.target_context.codegen().magic_tuple()[2].split(",")
    return {f"+{feature}" for feature in features} <= set(own)


def declare(builder: Any, name: str, returns: Any, arguments: Sequence[Any]) -> Any:
    """An intrinsic of LLVM, declared once a module."""
    known = builder.module.globals.get(name)
    return known or ir.Function(builder.module, ir.FunctionType(returns, arguments), name)


def pointer(builder: Any, base: Any, offset: Any, kind: Any) -> Any:
    """Pointer to a value of this type."""
    return builder.inttoptr(builder.add(base, offset), kind.as_pointer())


def load_vector(builder: Any, place: Any) -> Any:
    """The vector at a pointer, wherever it lies."""
    value = builder.load(place)
    value.align = 1
    return value


def prefetch(builder: Any, address: Any) -> None:
    """Have what lies at an address, which need not be a valid one, brought into the cache."""
    byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
    function = declare(builder, "llvm.prefetch.p0i8", ir.VoidType(), [byte, word, word, word])
    # To be read, into the second cache, as data.
    builder.call(function, [builder.inttoptr(address, byte), word(0), word(2), word(1)])


def splat(builder: Any, scalar: Any, vector: Any) -> Any:
    """A vector of nothing but a scalar."""
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.IntType(32)(0))
    order = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    return builder.shuffle_vector(one, one, order)


def loop(
    builder: Any,
    n: Any,
    carried: Sequence[Any],
    body: Callable[..., Sequence[Any]],
    step: int = 1,
) -> list[Any]:
    """``for i in range(0, n, step): carried = body(i, carried)``; returns what was carried."""
    before = builder.block
    start, after = builder.append_basic_block("loop"), builder.append_basic_block("after")
    some = builder.icmp_signed(">", n, n.type(0))
    builder.cbranch(some, start, after)
    builder.position_at_end(start)
    i = builder.phi(n.type)
    entering = [builder.phi(value.type) for value in carried]
    leaving = body(i, entering)
    following = builder.add(i, n.type(step))
    end = builder.block
    for phi, first, last in zip(
        [i, *entering], [n.type(0), *carried], [following, *leaving], strict=True
    ):
        phi.add_incoming(first, before)
        phi.add_incoming(last, end)
    builder.cbranch(builder.icmp_signed("<", following, n), start, after)
    builder.position_at_end(after)
    results = [builder.phi(value.type) for value in carried]
    for phi, first, last in zip(results, carried, leaving, strict=True):
        phi.add_incoming(first, before)
        phi.add_incoming(last, end)
    return results

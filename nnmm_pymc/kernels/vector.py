"""The inner loops of the marker sweep, written as vector instructions.

The loop vectoriser reaches half of what a core can do with these loops, and a slice of an array
costs as much as a hundred multiply-adds. So they take addresses and are built as LLVM vectors of
`LANES` float32; LLVM turns them into the instructions that the machine has. Every sum is taken lane
by lane in the order of the individuals, so it does not depend on how responses are grouped.

Lengths are multiples of `LANES`, in elements; addresses and strides are in bytes.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core.extending import intrinsic

from nnmm_pymc.kernels.llvm import (
    declare,
    load_vector,
    loop,
    pointer,
    prefetch,
    processor_has,
    splat,
)

__all__ = ["LANES", "centre_float32", "centre_int8", "dot", "read_dot", "subtract"]

LANES = 16
_VECTOR = ir.VectorType(ir.FloatType(), LANES)
_WORDS = ir.VectorType(ir.IntType(32), LANES)
_ELEMENTS = {"int8": ir.IntType(8), "float32": ir.FloatType()}
# Bytes ahead of a stream of dosages that are fetched while it is read once.
_PREFETCH = 1024


def _pointer(builder: Any, base: Any, i: Any, element: Any = _VECTOR.element) -> Any:
    size = 1 if element == _ELEMENTS["int8"] else 4
    offset = builder.mul(i, i.type(size))
    return pointer(builder, base, offset, ir.VectorType(element, LANES))


def _store(builder: Any, value: Any, place: Any) -> None:
    builder.store(value, place).align = 4


def _multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    fma = declare(builder, f"llvm.fma.v{LANES}f32", _VECTOR, [_VECTOR] * 3)
    return builder.call(fma, [a, b, c])


def _looked_up(builder: Any, dosage: Any, centre: Any) -> Any:
    """Calls less their centre, each call an index of four values; None if there is no such way.

    The instruction takes the two lowest bits of an index, so -1 is the last of the four.
    """
    if processor_has("avx512f"):
        name, width = "llvm.x86.avx512.vpermilvar.ps.512", 16
    elif processor_has("avx2"):
        name, width = "llvm.x86.avx.vpermilvar.ps.256", 8
    else:
        return None
    vector, words = (ir.VectorType(t, width) for t in (ir.FloatType(), ir.IntType(32)))
    table = builder.fsub(ir.Constant(_VECTOR, [0.0, 1.0, 2.0, 0.0] * (LANES // 4)), centre)
    last = ir.Constant(ir.VectorType(ir.IntType(1), LANES), [0, 0, 0, 1] * (LANES // 4))
    table = builder.select(last, ir.Constant(_VECTOR, None), table)
    indices, call = builder.sext(dosage, _WORDS), declare(builder, name, vector, [vector, words])

    def some(value: Any, first: int, count: int) -> Any:
        order = ir.Constant(ir.VectorType(ir.IntType(32), count), list(range(first, first + count)))
        return builder.shuffle_vector(value, value, order)

    table = some(table, 0, width)
    parts = [builder.call(call, [table, some(indices, i, width)]) for i in range(0, LANES, width)]
    if len(parts) == 1:
        return parts[0]
    order = ir.Constant(_WORDS, list(range(LANES)))
    return builder.shuffle_vector(*parts, order)


def _centred(builder: Any, address: Any, i: Any, centre: Any, element: Any) -> Any:
    """Dosages less their centre; a missing call (-1 as int8, else negative) becomes 0."""
    dosage = load_vector(builder, _pointer(builder, address, i, element))
    zero = ir.Constant(_VECTOR, None)
    if element == _ELEMENTS["int8"]:
        found = _looked_up(builder, dosage, centre)
        if found is not None:
            return found
        present = builder.icmp_signed(">=", dosage, ir.Constant(dosage.type, None))
        dosage = builder.sitofp(dosage, _VECTOR)
    else:
        present = builder.fcmp_ordered(">=", dosage, zero)
    return builder.select(present, builder.fsub(dosage, centre), zero)


def _rows(builder: Any, base: Any, stride: Any, count: int) -> list[Any]:
    return [builder.add(base, builder.mul(stride, base.type(m))) for m in range(count)]


def dot(markers: int, responses: int) -> Any:
    """``dot(x, x_stride, r, r_stride, n, out, out_stride)``: ``out[m, k, :] += x_m * r_k``.

    The sum over individuals stays in `LANES` lanes, ``out`` of shape (markers, responses, LANES).
    """

    @intrinsic
    def products(typingctx, x, x_stride, r, r_stride, n, out, out_stride):
        def codegen(context, builder, signature, arguments):
            x, x_stride, *rest = arguments
            rows = _rows(builder, x, x_stride, markers)

            def load(i):
                return [load_vector(builder, _pointer(builder, row, i)) for row in rows]

            _accumulate(builder, load, markers, responses, *rest)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 7), codegen

    return products


def read_dot(markers: int, responses: int, name: str) -> Any:
    """``read_dot(x, x_stride, centres, tile, tile_stride, r, r_stride, n, out, out_stride)``.

    As `dot`, of dosages that are centred and turned into float32 on the way, and left so in
    ``tile`` for further responses where there are several.
    """

    @intrinsic
    def products(typingctx, x, x_stride, centres, tile, tile_stride, r, r_stride, n, out, o_stride):
        def codegen(context, builder, signature, arguments):
            x, x_stride, centres, tile, tile_stride, *rest = arguments
            rows = _rows(builder, x, x_stride, markers)
            kept = _rows(builder, tile, tile_stride, markers)
            single = ir.FloatType().as_pointer()
            means = []
            for m in range(markers):
                address = builder.add(centres, centres.type(4 * m))
                mean = builder.load(builder.inttoptr(address, single))
                means.append(splat(builder, mean, _VECTOR))

            def load(i):
                values = []
                for row, place, mean in zip(rows, kept, means, strict=True):
                    prefetch(builder, builder.add(builder.add(row, i), i.type(_PREFETCH)))
                    values.append(_centred(builder, row, i, mean, _ELEMENTS[name]))
                    if responses > 1:
                        _store(builder, values[-1], _pointer(builder, place, i))
                return values

            _accumulate(builder, load, markers, responses, *rest)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 10), codegen

    return products


def _accumulate(builder, load, markers, responses, r, r_stride, n, out, out_stride):
    """The loop of the two functions above; `load` gives the vectors of the markers."""
    columns = _rows(builder, r, r_stride, responses)
    places = [
        _pointer(builder, row, n.type(LANES * k))
        for row in _rows(builder, out, out_stride, markers)
        for k in range(responses)
    ]

    def body(i, sums):
        left = load(i)
        right = [load_vector(builder, _pointer(builder, column, i)) for column in columns]
        pairs = [(a, b) for a in left for b in right]
        return [_multiply_add(builder, *ab, c) for ab, c in zip(pairs, sums, strict=True)]

    sums = loop(builder, n, [load_vector(builder, place) for place in places], body, LANES)
    for value, place in zip(sums, places, strict=True):
        _store(builder, value, place)


def _centre(name: str) -> Any:
    @intrinsic
    def convert(typingctx, dosages, centre, n, out):
        """``out = dosages - centre`` as float32, 0 where a call is missing."""

        def codegen(context, builder, signature, arguments):
            dosages, centre, n, out = arguments
            centres = splat(builder, centre, _VECTOR)

            def body(i, carried):
                value = _centred(builder, dosages, i, centres, _ELEMENTS[name])
                _store(builder, value, _pointer(builder, out, i))
                return []

            loop(builder, n, [], body, LANES)
            return context.get_dummy_value()

        return types.void(types.intp, types.float32, types.intp, types.intp), codegen

    return convert


centre_int8, centre_float32 = _centre("int8"), _centre("float32")


def subtract(markers: int, name: str = "") -> Any:
    """``subtract(scales, centres, rows, r, n)``: ``r -= scale_m x_m`` for rows at these addresses.

    Rows are centred float32; with a name, dosages of that type, which are centred on the way.
    """

    @intrinsic
    def update(typingctx, scales, centres, rows, r, n):
        def codegen(context, builder, signature, arguments):
            scales, centres, rows, r, n = arguments
            word, single = n.type.as_pointer(), ir.FloatType().as_pointer()

            def number(base, m):
                place = builder.inttoptr(builder.add(base, n.type(4 * m)), single)
                return builder.load(place)

            factors, addresses, means = [], [], []
            for m in range(markers):
                factors.append(splat(builder, builder.fneg(number(scales, m)), _VECTOR))
                means.append(splat(builder, number(centres, m), _VECTOR) if name else None)
                place = builder.inttoptr(builder.add(rows, n.type(8 * m)), word)
                addresses.append(builder.load(place))

            def body(i, carried):
                place = _pointer(builder, r, i)
                value = load_vector(builder, place)
                for factor, row, mean in zip(factors, addresses, means, strict=True):
                    if name:
                        dosage = _centred(builder, row, i, mean, _ELEMENTS[name])
                    else:
                        dosage = load_vector(builder, _pointer(builder, row, i))
                    value = _multiply_add(builder, factor, dosage, value)
                _store(builder, value, place)
                return []

            loop(builder, n, [], body, LANES)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 5), codegen

    return update

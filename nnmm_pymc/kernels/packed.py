"""Products of packed dosages with residuals, in integers.

Four dosages share a byte, so a pass over the genotypes reads a quarter of the bytes. A residual is
turned into 24 bits of fixed point, relative to the largest of its response, and split into three
signed digits of 8 bits; the instruction VPDPBUSD then multiplies and adds 64 dosages and digits at
once, or VPMADDUBSW 32. The sums are exact and do not depend on their order, nor on the processor;
what is rounded is the residual, to 2^-24 of the largest, as in float32.

Position ``256 c + 64 q + b`` stands in byte ``64 c + b`` of a row, bits 2q and 2q + 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.extending import intrinsic

from nnmm_pymc.kernels.jit import part
from nnmm_pymc.kernels.llvm import (
    declare,
    load_vector,
    loop,
    pointer,
    prefetch,
    processor_has,
    splat,
)

__all__ = [
    "CHUNK",
    "DIGITS",
    "NOT_PACKED",
    "Packed",
    "pack",
    "packed_dot",
    "packing_pays",
    "split",
]

#: Individuals whose dosages fill one vector of bytes.
CHUNK = 256
DIGITS = 3
#: Chunks whose sums of 16 bits need not be widened.
GROUP = 8
#: Markers that are packed at a time.
ROWS = 16
#: Each missing call costs as much as some 30 dosages.
MOST_MISSING = 0.1
#: What a processor needs for VPDPBUSD on vectors of 64 bytes.
WIDE = ("avx512vnni", "avx512bw")
_FLOATS = ir.VectorType(ir.FloatType(), 16)
_WORDS = ir.VectorType(ir.IntType(32), 16)
# Numbers up to 0x7F7F7F have digits between -128 and 127 once the offset is added; some are left
# for the rounding of the scale.
_LARGEST, _OFFSET = 0x7F7F00, 0x808080


def _constant(vector: Any, value: int) -> Any:
    return ir.Constant(vector, [value] * vector.count)


def _load(builder: Any, base: Any, offset: Any, vector: Any) -> Any:
    return load_vector(builder, pointer(builder, base, offset, vector))


@dataclass(frozen=True, eq=False)
class Packed:
    """Dosages with four in a byte, and where calls are missing.

    Attributes
    ----------
    dosages : (p, 64 c) array of uint8, or None
        c is n / 256, rounded up; a missing call is 0. None if they are not packed.
    starts : (p + 1,) array of int64
    missing : array of int32
        Individuals without a call of marker j: ``missing[starts[j]:starts[j + 1]]``.
    """

    dosages: np.ndarray | None
    starts: np.ndarray
    missing: np.ndarray


NOT_PACKED = Packed(None, np.zeros(1, np.int64), np.zeros(0, np.int32))


def packing_pays() -> bool:
    """Whether products of packed dosages are faster than those of bytes."""
    return processor_has("avx2") or processor_has(*WIDE)


def pack(dosages: np.ndarray, empty: Callable[..., np.ndarray] = np.zeros) -> Packed:
    """Packed dosages of a (p, n) array, in arrays made by ``empty(shape, dtype)``.

    They are `NOT_PACKED` where dosages are not calls, of int8 and 0, 1, 2 or -1 (missing), or more
    than a tenth of the calls is missing.
    """
    if dosages.dtype != np.int8:
        return NOT_PACKED
    p, n = dosages.shape
    blocks = [slice(first, first + ROWS) for first in range(0, p, ROWS)]
    counts = [np.count_nonzero(dosages[rows] < 0, axis=1) for rows in blocks]
    starts = np.concatenate([[0], *counts]).cumsum()
    if starts[-1] > MOST_MISSING * dosages.size:
        return NOT_PACKED
    chunks = (n + CHUNK - 1) // CHUNK
    out = empty((p, 64 * chunks), np.uint8)
    missing = empty((starts[-1],), np.int32)
    calls = np.zeros((ROWS, CHUNK * chunks), np.uint8)
    for rows in blocks:
        own = dosages[rows]
        np.maximum(own, 0, out=calls[: len(own), :n], casting="unsafe")
        quarters = calls[: len(own)].reshape(len(own), chunks, 4, 64)
        target = out[rows].reshape(len(own), chunks, 64)
        target[:] = quarters[:, :, 0]
        for q in range(1, 4):
            target |= quarters[:, :, q] << 2 * q
        places = slice(starts[rows.start], starts[rows.start + len(own)])
        missing[places] = np.flatnonzero(own < 0) % n
    return Packed(out, starts, missing)


@intrinsic
def _largest(typingctx, r, parts):
    """Largest absolute value of 64 parts float32 at an address."""

    def codegen(context, builder, signature, arguments):
        r, parts = arguments
        absolute = declare(builder, "llvm.fabs.v16f32", _FLOATS, [_FLOATS])
        largest = declare(builder, "llvm.maxnum.v16f32", _FLOATS, [_FLOATS] * 2)

        def body(part, carried):
            found = list(carried)
            for v in range(4):
                place = builder.mul(
                    builder.add(builder.mul(part, part.type(4)), part.type(v)), part.type(64)
                )
                value = builder.call(absolute, [_load(builder, r, place, _FLOATS)])
                found[v] = builder.call(largest, [found[v], value])
            return found

        found = loop(builder, parts, [ir.Constant(_FLOATS, None)] * 4, body)
        pair = [builder.call(largest, found[:2]), builder.call(largest, found[2:])]
        value = builder.call(largest, pair)
        reduce = declare(builder, "llvm.vector.reduce.fmax.v16f32", ir.FloatType(), [_FLOATS])
        return builder.call(reduce, [value])

    return types.float32(types.intp, types.intp), codegen


@intrinsic
def _split(typingctx, r, scale, parts, digits):
    """Write the digits of ``scale * r``; returns the sum of the whole numbers."""

    def codegen(context, builder, signature, arguments):
        r, scale, parts, digits = arguments
        word, total = parts.type, ir.VectorType(ir.IntType(64), 16)
        quarter = ir.VectorType(ir.IntType(8), 16)
        scales = splat(builder, scale, _FLOATS)
        rint = declare(builder, "llvm.rint.v16f32", _FLOATS, [_FLOATS])

        def body(part, carried):
            low, high = carried
            for v in range(4):
                place = builder.add(builder.mul(part, word(256)), word(64 * v))
                value = builder.fmul(_load(builder, r, place, _FLOATS), scales)
                number = builder.fptosi(builder.call(rint, [value]), _WORDS)
                low = builder.add(low, builder.and_(number, _constant(_WORDS, 0xFFF)))
                high = builder.add(high, builder.ashr(number, _constant(_WORDS, 12)))
                number = builder.add(number, _constant(_WORDS, _OFFSET))
                for d in range(DIGITS):
                    digit = builder.lshr(number, _constant(_WORDS, 8 * d)) if d else number
                    digit = builder.xor(builder.trunc(digit, quarter), _constant(quarter, 0x80))
                    place = builder.add(builder.mul(part, word(64 * DIGITS)), word(64 * d + 16 * v))
                    builder.store(digit, pointer(builder, digits, place, quarter)).align = 1
            return [low, high]

        low, high = loop(builder, parts, [ir.Constant(_WORDS, None)] * 2, body)
        whole = builder.shl(builder.sext(high, total), _constant(total, 12))
        whole = builder.add(whole, builder.zext(low, total))
        reduce = declare(builder, "llvm.vector.reduce.add.v16i64", ir.IntType(64), [total])
        return builder.call(reduce, [whole])

    return types.int64(types.intp, types.float32, types.intp, types.intp), codegen


@part()
def split(residual, digits):
    """Write the digits of a residual; returns the size of its unit and the sum in such units.

    Parameters
    ----------
    residual : (256 c,) array of float32
    digits : (4 c, 3, 64) array of int8
        The lowest digit first.
    """
    parts, r = digits.shape[0], residual.ctypes.data
    largest = _largest(r, parts)  # type: ignore[call-arg, var-annotated]
    scale = np.float32(_LARGEST) / largest if largest > 0.0 else np.float32(0.0)
    return np.float64(largest) / _LARGEST, _split(r, scale, parts, digits.ctypes.data)


class _Products:
    """How the bytes of two vectors are multiplied and summed: by what the processor has.

    Attributes
    ----------
    words : LLVM type
        Of a sum: each 32-bit word takes in the products of its four bytes.
    """

    def __init__(self, builder: Any):
        self.builder = builder
        self.wide = processor_has(*WIDE)
        self.pairs = processor_has("avx2") and not self.wide
        self.words = ir.VectorType(ir.IntType(32), 8 if self.pairs else 16)

    def add(self, total: Any, dosages: Any, digits: Any) -> Any:
        """Add the products of dosages and signed digits."""
        builder = self.builder
        if self.wide:
            name, words = "llvm.x86.avx512.vpdpbusd.512", self.words
            return builder.call(
                declare(builder, name, words, [words] * 3), [total, dosages, digits]
            )
        if self.pairs:
            # Sums of two products, from -512 to 508, of which 16 bits hold 64: GROUP chunks have 8
            # each.
            bytes_ = ir.VectorType(ir.IntType(8), 32)
            function = declare(builder, "llvm.x86.avx2.pmadd.ub.sw", total.type, [bytes_] * 2)
            arguments = [builder.bitcast(v, bytes_) for v in (dosages, digits)]
            return builder.add(total, builder.call(function, arguments))
        for b in range(4):
            dosage = builder.lshr(dosages, _constant(self.words, 8 * b))
            dosage = builder.and_(dosage, _constant(self.words, 0xFF))
            digit = builder.shl(digits, _constant(self.words, 24 - 8 * b))
            digit = builder.ashr(digit, _constant(self.words, 24))
            total = builder.add(total, builder.mul(dosage, digit))
        return total

    def quarters(self, add: Callable[..., Sequence[Any]], word: Any, sums: Sequence[Any]) -> Any:
        """Sums over the quarters q of a chunk; ``add(q, 2q, sums)`` adds one."""
        if not self.pairs:
            for q in range(4):
                sums = add(word(q), _constant(self.words, 2 * q), sums)
            return sums
        # A loop, as LLVM would reorder the sums of four until the registers do not hold them.
        builder, number = self.builder, self.words.element

        def one(q: Any, carried: list[Any]) -> Sequence[Any]:
            shift = builder.trunc(builder.shl(q, word(1)), number)
            return add(q, splat(builder, shift, self.words), carried)

        return loop(builder, word(4), sums, one)

    def over(self, chunks: Any, n_sums: int, add: Callable[..., Sequence[Any]]) -> list[Any]:
        """Sums over all chunks; ``add(c, sums)`` adds those of chunk c."""
        zero = ir.Constant(self.words, None)
        if not self.pairs:
            return loop(self.builder, chunks, [zero] * n_sums, add)
        builder, word = self.builder, chunks.type
        halves = ir.VectorType(ir.IntType(16), 16)
        widen = declare(builder, "llvm.x86.avx2.pmadd.wd", self.words, [halves] * 2)

        def group(first: Any, sums: list[Any]) -> list[Any]:
            left, most = builder.sub(chunks, first), word(GROUP)
            size = builder.select(builder.icmp_signed("<", left, most), left, most)
            start = [ir.Constant(halves, None)] * n_sums
            short = loop(builder, size, start, lambda c, own: add(builder.add(first, c), own))
            long = [builder.call(widen, [v, _constant(halves, 1)]) for v in short]
            return [builder.add(*pair) for pair in zip(sums, long, strict=True)]

        return loop(builder, chunks, [zero] * n_sums, group, step=GROUP)


def packed_dot(markers: int, responses: int) -> Any:
    """``dot(x, x_stride, digits, stride, chunks, out)``: sums of dosages times digits.

    ``out`` of shape (markers, responses) int64 is filled; strides are in bytes.
    """

    @intrinsic
    def products(typingctx, x, x_stride, digits, stride, chunks, out):
        def codegen(context, builder, signature, arguments):
            x, x_stride, digits, stride, chunks, out = arguments
            word, own = x.type, _Products(builder)
            words, width = own.words, 4 * own.words.count
            rows = [builder.add(x, builder.mul(x_stride, word(m))) for m in range(markers)]
            columns = [builder.add(digits, builder.mul(stride, word(k))) for k in range(responses)]

            # The rows of the next markers, for which nothing would wait otherwise.
            following = [builder.add(row, builder.mul(x_stride, word(markers))) for row in rows]

            def add_quarter(c, begin, q, shift, sums):
                """A quarter of a chunk: those dosages that are at bits 2q and 2q + 1."""
                sums = list(sums)
                place = builder.add(builder.mul(c, word(64)), word(begin))
                part = builder.add(builder.mul(c, word(4)), q)
                part = builder.mul(part, word(64 * DIGITS))
                packed = [_load(builder, row, place, words) for row in rows]
                shifted = [builder.lshr(v, shift) for v in packed]
                dosages = [builder.and_(v, _constant(words, 0x03030303)) for v in shifted]
                for (k, column), d in product(enumerate(columns), range(DIGITS)):
                    offset = builder.add(part, word(64 * d + begin))
                    digit = _load(builder, column, offset, words)
                    for m, dosage in enumerate(dosages):
                        s = (m * responses + k) * DIGITS + d
                        sums[s] = own.add(sums[s], dosage, digit)
                return sums

            def add(c, sums):
                for row in following:
                    prefetch(builder, builder.add(row, builder.mul(c, word(64))))
                for begin in range(0, 64, width):
                    sums = own.quarters(partial(add_quarter, c, begin), word, sums)
                return sums

            n_sums = markers * responses * DIGITS
            sums = own.over(chunks, n_sums, add)
            wide = ir.VectorType(ir.IntType(64), words.count)
            name = f"llvm.vector.reduce.add.v{words.count}i64"
            reduce = declare(builder, name, ir.IntType(64), [wide])
            for s in range(0, n_sums, DIGITS):
                total = builder.sext(sums[s], wide)
                for d in range(1, DIGITS):
                    digit = builder.shl(builder.sext(sums[s + d], wide), _constant(wide, 8 * d))
                    total = builder.add(total, digit)
                place = pointer(builder, out, word(8 * (s // DIGITS)), ir.IntType(64))
                builder.store(builder.call(reduce, [total]), place)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 6), codegen

    return products

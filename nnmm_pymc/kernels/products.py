"""Products of blocks of markers with the residuals, which changed effects are taken out of."""

from __future__ import annotations

import numpy as np
from numba import types
from numba.core.extending import overload

from nnmm_pymc.kernels.jit import FAST, part, section
from nnmm_pymc.kernels.llvm import processor_has
from nnmm_pymc.kernels.packed import WIDE, packed_dot, split
from nnmm_pymc.kernels.vector import (
    LANES,
    centre_float32,
    centre_int8,
    dot,
    read_dot,
    subtract,
)

__all__ = [
    "LONG_TILE",
    "ROWS",
    "SUMS",
    "TILE",
    "block_update",
    "multiply",
    "vectors",
]

# Individuals at a time: their residuals of ten responses and some rows of dosages fit the L1 cache.
TILE = 512
# The same where one response reads each dosage once.
LONG_TILE = 4096
# Markers at a time whose centred dosages are kept.
ROWS = 8
# Responses that change with a marker below which its dosages are not kept.
FEW = 6

# Markers and responses whose sums stay in registers, of which there are 32 of one vector each, or
# sixteen of half a vector.
MARKERS, RESPONSES = (4, 5) if processor_has("avx512f") else (2, 3)
_dot_many, _dot_two, _dot_one = (dot(MARKERS, k) for k in (RESPONSES, 2, 1))
_read_many, _read_two, _read_one = (read_dot(MARKERS, k, "int8") for k in (RESPONSES, 2, 1))
_subtract_4, _subtract_1 = subtract(4), subtract(1)
_convert_4, _convert_1 = subtract(4, "int8"), subtract(1, "int8")
# The same of packed dosages: with two responses, and with one.
PAIR = 2
PAIR_ROWS, COLUMN_ROWS = (4, 4) if processor_has(*WIDE) else (1, 2)
_packed_pair, _packed_column = packed_dot(PAIR_ROWS, PAIR), packed_dot(COLUMN_ROWS, 1)
SUMS = max(PAIR_ROWS * PAIR, COLUMN_ROWS)
# Chunks at a time: the digits of two responses fit the L1 cache.
CHUNKS = 16


@part()
def _centre_row(dosages, centre, marker, start, stop, tile, row):
    """Centred dosages of one marker, up to a whole number of vectors."""
    whole = (stop - start) // LANES * LANES
    source = dosages[marker:].ctypes.data + start * dosages.itemsize
    if dosages.itemsize == 1:
        centre_int8(source, centre[marker], whole, tile[row:].ctypes.data)
    else:
        centre_float32(source, centre[marker], whole, tile[row:].ctypes.data)
    for i in range(whole, stop - start):
        value = dosages[marker, start + i]
        tile[row, i] = np.float32(value) - centre[marker] if value >= 0 else np.float32(0.0)
    for i in range(stop - start, vectors(stop - start)):
        tile[row, i] = np.float32(0.0)


@part()
def vectors(n):
    """Length of whole vectors that hold n elements."""
    return (n + LANES - 1) // LANES * LANES


@part()
def _at_once(left):
    """How many of the responses that are left are taken at once."""
    if left >= RESPONSES and left != 4:
        return RESPONSES
    return min(left, 2)


@section
def block_products(dosages, centre, first, size, responses, tile, lanes, out):
    """Fill ``out[:, :size]`` with x'r for the markers of one block and all responses."""
    n = dosages.shape[1]
    n_responses = responses.shape[0]
    lanes[:] = np.float32(0.0)
    r_stride, x_stride, lane_stride = responses.strides[0], tile.strides[0], lanes.strides[0]
    means = centre.ctypes.data
    long = LONG_TILE if n_responses == 1 else TILE
    for start in range(0, n, long):
        stop = min(n, start + long)
        width = vectors(stop - start)
        r = responses.ctypes.data + 4 * start
        for j in range(0, size, MARKERS):
            k = 0
            marker = first + j
            sums = lanes.ctypes.data + j * lane_stride
            x = tile.ctypes.data
            if dosages.itemsize == 1 and size - j >= MARKERS and width == stop - start:
                # The first responses convert the dosages and leave them in the tile for the rest.
                raw, mean = dosages[marker:].ctypes.data + start, means + 4 * marker
                k = _at_once(n_responses)
                if k == 1:
                    _read_one(raw, n, mean, x, x_stride, r, r_stride, width, sums, lane_stride)
                elif k == 2:
                    _read_two(raw, n, mean, x, x_stride, r, r_stride, width, sums, lane_stride)
                else:
                    _read_many(raw, n, mean, x, x_stride, r, r_stride, width, sums, lane_stride)
            else:
                for b in range(min(MARKERS, size - j)):
                    _centre_row(dosages, centre, marker + b, start, stop, tile, b)
            while k < n_responses:
                column, place = r + k * r_stride, sums + 4 * LANES * k
                together = _at_once(n_responses - k)
                if together == 1:
                    _dot_one(x, x_stride, column, r_stride, width, place, lane_stride)
                elif together == 2:
                    _dot_two(x, x_stride, column, r_stride, width, place, lane_stride)
                else:
                    _dot_many(x, x_stride, column, r_stride, width, place, lane_stride)
                k += together
    _sum_lanes(lanes, size, out)


@part(fastmath=FAST)
def _sum_lanes(lanes, size, out):
    for j in range(size):
        for k in range(out.shape[0]):
            total = 0.0
            for lane in range(LANES):
                total += np.float64(lanes[j, k, lane])
            out[k, j] = total


@part()
def _add_packed(packed, digits, sums, out):
    """Add the sums of dosages times the digits of one response or two; in float64 exact."""
    size, width, chunks = packed.shape[0], digits.shape[0], packed.shape[1] // 64
    x_stride, r_stride = packed.strides[0], digits.strides[0]
    r, place = digits.ctypes.data, sums.ctypes.data
    most = PAIR_ROWS if width == PAIR else COLUMN_ROWS
    j = 0
    while j < size:
        # What is left is taken one by one, as if the row stood there several times.
        rows = most if j + most <= size else 1
        x, stride = packed[j:].ctypes.data, x_stride if rows == most else 0
        if width == PAIR:
            _packed_pair(x, stride, r, r_stride, chunks, place)
        else:
            _packed_column(x, stride, r, r_stride, chunks, place)
        for m in range(rows):
            for k in range(width):
                out[k, j + m] += sums[m * width + k]
        j += rows


@section
def packed_products(
    packed, starts, missing, centre, first, size, responses, digits, units, totals, sums, out
):
    """The same from packed dosages and the digits of the responses.

    With d the dosage, 0 where it is missing: x'r = d'r - c (sum of r - sum of r where it is).
    """
    chunks = packed.shape[1] // 64
    n_responses = responses.shape[0]
    out[:, :size] = 0.0
    for begin in range(0, chunks, CHUNKS):
        end = min(chunks, begin + CHUNKS)
        for k in range(0, n_responses, PAIR):
            width = min(PAIR, n_responses - k)
            own = digits[k : k + width, 4 * begin : 4 * end]
            _add_packed(packed[first : first + size, 64 * begin : 64 * end], own, sums, out[k:])
    for k in range(n_responses):
        for j in range(size):
            out[k, j] = units[k] * (out[k, j] - centre[first + j] * totals[k])
    for marker in range(first, first + size):
        for place in range(starts[marker], starts[marker + 1]):
            for k in range(n_responses):
                out[k, marker - first] += centre[marker] * responses[k, missing[place]]


def multiply(
    genotypes, first, size, responses, moved, tile, lanes, digits, units, totals, sums, out
):
    """The same from packed dosages where there are; only responses that `moved` are split anew.

    For kernels: which of the two is known from the types, so that one alone is compiled.
    """
    raise NotImplementedError


def _multiply_bytes(
    genotypes, first, size, responses, moved, tile, lanes, digits, units, totals, sums, out
):
    block_products(genotypes[0], genotypes[4], first, size, responses, tile, lanes, out)


def _multiply_packed(
    genotypes, first, size, responses, moved, tile, lanes, digits, units, totals, sums, out
):
    _, packed, starts, missing, centre = genotypes
    for k in range(responses.shape[0]):
        if moved[k]:
            units[k], totals[k] = split(responses[k], digits[k])
    # fmt: off
    packed_products(
        packed, starts, missing, centre, first, size, responses, digits, units, totals, sums, out
    )
    # fmt: on


@overload(multiply, inline="always")
def _multiply(
    genotypes, first, size, responses, moved, tile, lanes, digits, units, totals, sums, out
):
    is_packed = not isinstance(genotypes.types[1], types.NoneType)
    return _multiply_packed if is_packed else _multiply_bytes


@section
def block_update(dosages, centre, first, changed, change, tile, residual):
    """Take the changed effects of one block out of the residuals of all responses.

    `changed` are the markers of the block with a change in any response. Dosages are centred once a
    response where few responses change with a marker, else once for all; an element of a residual
    sees the same operations either way.
    """
    n_changes = 0
    for j in changed:
        for k in range(residual.shape[0]):
            n_changes += change[j, k] != 0.0
    few = dosages.itemsize == 1 and n_changes < FEW * len(changed)
    whole = dosages.shape[1] // LANES * LANES if few else 0
    if few:
        _update_by_response(dosages, centre, first, changed, change, whole, residual)
    _update_by_marker(dosages, centre, first, changed, change, whole, tile, residual)


@part()
def _update_by_response(dosages, centre, first, changed, change, n, residual):
    """The first n individuals, whole vectors."""
    size = len(changed)
    scales, means = np.empty(size, np.float32), np.empty(size, np.float32)
    rows = np.empty(size, np.int64)
    for k in range(residual.shape[0]):
        count = 0
        for j in changed:
            if change[j, k] != 0.0:
                scales[count], means[count] = change[j, k], centre[first + j]
                rows[count] = dosages.ctypes.data + (first + j) * dosages.strides[0]
                count += 1
        r = residual.ctypes.data + k * residual.strides[0]
        scale, mean, row = scales.ctypes.data, means.ctypes.data, rows.ctypes.data
        m = 0
        while m < count:
            if m + 4 <= count:
                _convert_4(scale + 4 * m, mean + 4 * m, row + 8 * m, r, n)
                m += 4
            else:
                _convert_1(scale + 4 * m, mean + 4 * m, row + 8 * m, r, n)
                m += 1


@part()
def _update_by_marker(dosages, centre, first, changed, change, begin, tile, residual):
    """The individuals from `begin` on."""
    n = dosages.shape[1]
    scales, rows_at = np.empty(ROWS, np.float32), np.empty(ROWS, np.int64)
    for low in range(0, len(changed), ROWS):
        rows = changed[low : min(low + ROWS, len(changed))]
        for start in range(begin, n, TILE):
            stop = min(n, start + TILE)
            for b in range(len(rows)):
                _centre_row(dosages, centre, first + rows[b], start, stop, tile, b)
            width = vectors(stop - start)
            r = residual.ctypes.data + 4 * start
            for k in range(residual.shape[0]):
                count = 0
                for b in range(len(rows)):
                    if change[rows[b], k] != 0.0:
                        scales[count] = change[rows[b], k]
                        rows_at[count] = tile.ctypes.data + b * tile.strides[0]
                        count += 1
                m = 0
                own = r + k * residual.strides[0]
                while m < count:
                    scale, row = scales.ctypes.data + 4 * m, rows_at.ctypes.data + 8 * m
                    if m + 4 <= count:
                        _subtract_4(scale, 0, row, own, width)
                        m += 4
                    else:
                        _subtract_1(scale, 0, row, own, width)
                        m += 1

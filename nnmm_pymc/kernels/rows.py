"""Sums over arrays, and over the missing cells of an omic, each of which belongs to a row."""

from __future__ import annotations

import numpy as np

from nnmm_pymc.kernels.jit import FAST, kernel, part

__all__ = [
    "add",
    "add_at",
    "add_chosen",
    "add_in_turn",
    "dot",
    "dot_at",
    "put_at",
    "seen_products",
    "take_at",
]


@part(fastmath=FAST)
def add(out, scale, x):
    for i in range(out.shape[0]):
        out[i] += scale * x[i]


@part(fastmath=FAST)
def add_at(out, row, scale, x):
    for c in range(row.shape[0]):
        out[row[c]] += scale * x[c]


@part(fastmath=FAST)
def take_at(out, row, scale, x):
    for c in range(row.shape[0]):
        out[c] += scale * x[row[c]]


@part()
def put_at(out, place, x):
    for c in range(place.shape[0]):
        out[place[c]] = x[c]


@part(fastmath=FAST)
def dot(x, y):
    total = 0.0
    for i in range(x.shape[0]):
        total += x[i] * y[i]
    return total


@part(fastmath=FAST)
def dot_at(x, row, y):
    total = 0.0
    for c in range(row.shape[0]):
        total += x[c] * y[row[c]]
    return total


@kernel()
def add_chosen(out, scale, x, cell):
    """Add to each element of `out` the element of x that it has; none where `cell` is its size."""
    size = x.shape[0]
    for i in range(out.shape[0]):
        if cell[i] < size:
            out[i] += scale * x[cell[i]]


@kernel()
def add_in_turn(out, scale, x):
    """Add the elements of x to those of `out` in turn, again and again."""
    size = x.shape[0]
    for start in range(0, out.shape[0], size):
        for k in range(size):
            out[start + k] += scale * x[k]


@kernel(fastmath=FAST)
def seen_products(design, seen, value):
    """Cross-products of a design, (n, c), with the values, (n, K), that are seen."""
    out = np.zeros((design.shape[1], value.shape[1]))
    for i in range(design.shape[0]):
        for c in range(design.shape[1]):
            for k in range(value.shape[1]):
                if seen[i, k]:
                    out[c, k] += design[i, c] * value[i, k]
    return out

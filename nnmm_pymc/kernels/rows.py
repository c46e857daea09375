"""Sums over arrays, and over the missing cells of an omic, each of which belongs to a row."""

from __future__ import annotations

from nnmm_pymc.kernels.jit import FAST, part

__all__ = ["add", "add_at", "dot", "dot_at", "put_at", "take_at"]


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

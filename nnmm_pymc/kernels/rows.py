"""Sums over arrays, and over the missing cells of an omic, each of which belongs to a row."""

from __future__ import annotations

from numba import njit

from nnmm_pymc.kernels.genotypes import FAST

__all__ = ["add", "add_at", "dot", "dot_at", "put_at", "take_at"]


@njit(fastmath=FAST, nogil=True, cache=True)
def add(out, scale, x):
    for i in range(out.shape[0]):
        out[i] += scale * x[i]


@njit(fastmath=FAST, nogil=True, cache=True)
def add_at(out, row, scale, x):
    for c in range(row.shape[0]):
        out[row[c]] += scale * x[c]


@njit(fastmath=FAST, nogil=True, cache=True)
def take_at(out, row, scale, x):
    for c in range(row.shape[0]):
        out[c] += scale * x[row[c]]


@njit(nogil=True, cache=True)
def put_at(out, place, x):
    for c in range(place.shape[0]):
        out[place[c]] = x[c]


@njit(fastmath=FAST, nogil=True, cache=True)
def dot(x, y):
    total = 0.0
    for i in range(x.shape[0]):
        total += x[i] * y[i]
    return total


@njit(fastmath=FAST, nogil=True, cache=True)
def dot_at(x, row, y):
    total = 0.0
    for c in range(row.shape[0]):
        total += x[c] * y[row[c]]
    return total

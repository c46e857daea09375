"""Recursions over a pedigree: the breeding value of i with parents s and d is

    a_i = (a_s + a_d) / 2 + m_i,      var(m_i) = D_i = 1 - sum over known parents p of (1 + F_p) / 4

in units of the additive variance, with F the inbreeding coefficients; so a = T m and A = T D T'.
A parent is the position of its row, -1 if unknown. Everything but `parents_first` needs parents to
stand before their offspring. Selfing is s = d: the two halves add up.
"""

from __future__ import annotations

import numpy as np

from nnmm_pymc.kernels.jit import kernel, part

__all__ = ["COLUMNS", "ancestors", "descend", "generations", "inbreeding", "parents_first", "times"]

COLUMNS = 32  # of A, made at a time


@kernel()
def parents_first(sire, dam):
    """Order of the rows that puts parents before offspring, by depth-first search.

    Rows that are in such an order already keep it.

    Returns
    -------
    order : (n,) array
    cycle : array
        Empty, or rows of which each is a parent of the one before, and the first one of the last.
    """
    n = len(sire)
    order, path = np.empty(n, np.int32), np.empty(n, np.int32)
    done, on_path = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    placed = 0
    for root in range(n):
        if done[root]:
            continue
        path[0], depth = root, 1
        while depth > 0:
            i = path[depth - 1]
            on_path[i] = True
            parent = sire[i]
            if parent < 0 or done[parent]:
                parent = dam[i]
            if parent < 0 or done[parent]:
                done[i], on_path[i] = True, False
                order[placed] = i
                placed += 1
                depth -= 1
            elif on_path[parent]:
                start = depth - 1
                while path[start] != parent:
                    start -= 1
                return order, path[start:depth].copy()
            else:
                path[depth] = parent
                depth += 1
    return order, path[:0].copy()


@kernel()
def generations(sire, dam):
    """Longest path to a founder: 0 without known parents, else one more than the older parent's."""
    out = np.zeros(len(sire), np.int32)
    for i in range(len(sire)):
        for parent in (sire[i], dam[i]):
            if parent >= 0:
                out[i] = max(out[i], out[parent] + 1)
    return out


@part()
def descend(sire, dam, values):
    """Replace m by T m: everybody adds the mean of the parents; (n, k) array, in place."""
    for i in range(values.shape[0]):
        for parent in (sire[i], dam[i]):
            if parent >= 0:
                for k in range(values.shape[1]):
                    values[i, k] += 0.5 * values[parent, k]


@part()
def ascend(sire, dam, values):
    """Replace v by T' v: everybody hands half to each parent; (n, k) array, in place."""
    for i in range(values.shape[0] - 1, -1, -1):
        for parent in (sire[i], dam[i]):
            if parent >= 0:
                for k in range(values.shape[1]):
                    values[parent, k] += 0.5 * values[i, k]


@kernel()
def times(sire, dam, variance, values):
    """Replace v by A v = T D T' v; (n, k) array, in place."""
    ascend(sire, dam, values)
    for i in range(values.shape[0]):
        values[i] *= variance[i]
    descend(sire, dam, values)


@kernel()
def ancestors(sire, dam, start, place):
    """Rows of `start` and of all their ancestors, ascending.

    Parameters
    ----------
    start : (k,) array
        Each row once or more.
    place : (n + 1,) array
        All -1; filled with the number of each such row among them. Entry -1 stays as it is, so
        that ``place[sire[rows]]`` is -1 for unknown parents.
    """
    rows = np.empty(len(sire), np.int32)
    size = 0
    for i in start:
        if place[i] < 0:
            rows[size], place[i] = i, 0
            size += 1
    done = 0
    while done < size:
        i = rows[done]
        done += 1
        for parent in (sire[i], dam[i]):
            if parent >= 0 and place[parent] < 0:
                rows[size], place[parent] = parent, 0
                size += 1
    found = np.sort(rows[:size])
    for k in range(size):
        place[found[k]] = k
    return found


def inbreeding(sire, dam, generation):
    """Inbreeding coefficients: half the relationship of the parents, by Colleau's product with A.

    Generation by generation, for a few parents s at a time, A e_s = T D T' e_s is taken over the
    ancestors of s and its mates, and the offspring of s read from it (Sargolzaei, Iwaisaki &
    Colleau 2005, J Anim Breed Genet 122:325). So an ancestor is visited once for all offspring of
    s in a generation, where tracing every mating (Meuwissen & Luo 1992, Genet Sel Evol 24:305)
    visits it once for each mate.

    Parameters
    ----------
    generation : (n,) array
        From `generations`.

    Returns
    -------
    coefficients, variance : (n,) arrays
        F and D.
    """
    n = len(sire)
    coefficients, variance = np.zeros(n), np.ones(n)
    quarter = np.append(np.full(n, 0.25), 0.0)  # (1 + F) / 4; the last is that of nobody
    place = np.full(n + 1, -1, np.int32)
    order = np.argsort(generation, kind="stable")
    for born in np.split(order, np.flatnonzero(np.diff(generation[order])) + 1):
        variance[born] -= quarter[sire[born]] + quarter[dam[born]]
        born = born[(sire[born] >= 0) & (dam[born] >= 0)]
        # The side of which there are fewer needs fewer products.
        few, many = sorted((sire[born], dam[born]), key=lambda side: len(np.unique(side)))
        parents, column = np.unique(few, return_inverse=True)
        for first in range(0, len(parents), COLUMNS):
            block = parents[first : first + COLUMNS]
            own = np.flatnonzero((column >= first) & (column < first + COLUMNS))
            rows = ancestors(sire, dam, np.append(block, many[own]), place)
            values = np.zeros((len(rows), len(block)))
            values[place[block], np.arange(len(block))] = 1.0
            times(place[sire[rows]], place[dam[rows]], variance[rows], values)
            coefficients[born[own]] = values[place[many[own]], column[own] - first] / 2
            place[rows] = -1
        quarter[born] += coefficients[born] / 4
    return coefficients, variance

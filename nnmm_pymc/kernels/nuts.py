"""One NUTS draw for the density of a standard network, the whole trajectory in compiled code.

Multinomial NUTS with the generalised U-turn check between and across subtrees (Hoffman & Gelman
2014, JMLR 15:1593; Betancourt 2017, arXiv:1701.02434, appendix A), as in PyMC, whose adaptation of
step size is used with it. Of the energy -log p(q) + p'Vp/2, V the inverse masses, a part
(q - c)'V^-1(q - c)/2 + p'Vp/2 is a harmonic oscillator of frequency one, which a leapfrog step
follows exactly; the kicks before and after it are the gradient of the rest
(Shahbaba, Lan, Johnson & Neal 2014, Stat Comput 24:339, section 2.1):

    p <- p + s/2 (grad log p(q) + V^-1 (q - c))
    (q - c, Vp) <- (cos s (q - c) + sin s Vp, cos s Vp - sin s (q - c))
    p <- p + s/2 (grad log p(q) + V^-1 (q - c))
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nnmm_pymc.kernels.jit import FAST, kernel, part
from nnmm_pymc.kernels.network import network_density

__all__ = ["GRADIENT", "Q", "density_of_draw", "n_rows", "nuts_draw"]

# Energy error beyond which a trajectory counts as divergent.
MAX_ENERGY_ERROR = 1000.0
# Rows of a state.
Q, P, GRADIENT, STATE = range(4)
# States that are needed: the one drawn from the trajectory, and the first, last and drawn one of
# the subtree that grows. Then the same three of each subtree that waits for its other half.
DRAWN, FIRST, LAST, BEST, WAITING = range(5)


def n_rows(max_depth: int) -> int:
    """Rows of scratch: the states needed at a time and one more, and sums of momenta."""
    return STATE * (WAITING + 3 * (max_depth + 1) + 1) + max_depth + 1


@part()
def _free(needed):
    """Where the first state is that is not needed."""
    at, found = 0, 0
    while found < needed.shape[0]:
        if needed[found] == at:
            at, found = at + STATE, 0
        else:
            found += 1
    return at


@part(fastmath=FAST)
def _kick_and_turn(rows, old, new, step, reference):
    """First half of the kick, then the exact flow of the reference."""
    centre, precision, inverse_mass = reference
    cos, sin = np.cos(step), np.sin(step)
    for i in range(centre.shape[0]):
        away = rows[old + Q, i] - centre[i]
        kicked = rows[old + P, i] + 0.5 * step * (rows[old + GRADIENT, i] + precision[i] * away)
        rows[new + Q, i] = centre[i] + cos * away + sin * inverse_mass[i] * kicked
        rows[new + P, i] = cos * kicked - sin * precision[i] * away


@part(fastmath=FAST)
def _kick(rows, at, step, reference):
    """Second half of the kick, in place; returns the kinetic energy."""
    centre, precision, inverse_mass = reference
    total = 0.0
    for i in range(centre.shape[0]):
        away = rows[at + Q, i] - centre[i]
        p = rows[at + P, i] + 0.5 * step * (rows[at + GRADIENT, i] + precision[i] * away)
        rows[at + P, i] = p
        total += p * p * inverse_mass[i]
    return 0.5 * total


@part(fastmath=FAST)
def _join(rows, inverse_mass, sum_1, sum_2, first, middle_1, middle_2, last, out):
    """Add the momenta of two halves; whether these turn back, together or one with the other's end.

    Given the rows of the sums of their momenta, and of the momenta at their ends.
    """
    a, b, c, d, e, f = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(inverse_mass.shape[0]):
        both = rows[sum_1, i] + rows[sum_2, i]
        begin = (rows[sum_1, i] + rows[middle_2, i]) * inverse_mass[i]
        end = (rows[middle_1, i] + rows[sum_2, i]) * inverse_mass[i]
        a += both * inverse_mass[i] * rows[first, i]
        b += both * inverse_mass[i] * rows[last, i]
        c += begin * rows[first, i]
        d += begin * rows[middle_2, i]
        e += end * rows[middle_1, i]
        f += end * rows[last, i]
        rows[out, i] = both
    return a <= 0.0 or b <= 0.0 or c <= 0.0 or d <= 0.0 or e <= 0.0 or f <= 0.0


@part()
def _log_add(a, b):
    top = max(a, b)
    if top == -np.inf:
        return top
    return top + np.log(np.exp(a - top) + np.exp(b - top))


@part()
def _put(values, rows, row):
    for i in range(values.shape[0]):
        rows[row, i] = values[i]


@kernel(fastmath=FAST, error_model="numpy")
def nuts_draw(q, p, step, reference, directions, uniforms, rows, data):
    """Draw once.

    State by state: two neighbours of the same size become one as soon as there are two, so at most
    one subtree of each size waits for the half that follows it; the trajectory is the largest.

    Parameters
    ----------
    q, p : (m,) arrays
        Position and momentum.
    step : float
        Step size.
    reference : tuple of three (m,) arrays
        c, and the diagonals of V^-1 and V.
    directions : (max_depth,) array of -1 and 1
    uniforms : array of at least 2^max_depth numbers
    rows : (n_rows(max_depth), m) array
        Scratch.
    data : tuple
        For `network_density`.

    Returns
    -------
    drawn : int
        The new position is in row ``drawn + Q`` of `rows`, the gradient there in
        ``drawn + GRADIENT``.
    logp : float
        Log density of the new state.
    start, error : float
        Energy of the given state, and what that of the new one is above it.
    largest : float
        Energy error, the largest of the trajectory.
    acceptance : float
        Sum of the acceptance probabilities of the leapfrog steps.
    n_steps, depth : int
        Leapfrog steps, doublings.
    stop : int
        Why the trajectory ended: 1 divergent, 2 turned, 0 neither.
    """
    max_depth = directions.shape[0]
    needed = np.empty(WAITING + 3 * (max_depth + 1), np.int64)
    for i in range(needed.shape[0]):
        needed[i] = -1
    sums = rows.shape[0] - (max_depth + 1)
    logps, errors, weights = np.empty(sums), np.empty(sums), np.empty(max_depth + 1)
    start, largest, acceptance, length = 0.0, 0.0, 0.0, 0.0
    n_used, n_steps, depth, stop = 0, 0, 0, 0
    for state in range(1 << max_depth):
        if state == 1 << depth:
            # The trajectory doubles, from the end that lies in the direction drawn.
            half, forward = WAITING + 3 * depth, directions[depth] > 0
            if (length < 0.0) == forward:
                needed[half], needed[half + 1] = needed[half + 1], needed[half]
            length = step if forward else -step
            needed[LAST] = needed[half + 1]
            depth += 1
        at = _free(needed)
        if state == 0:
            _put(q, rows, at + Q)
            _put(p, rows, at + P)
        else:
            _kick_and_turn(rows, needed[LAST], at, length, reference)
        logps[at] = network_density(rows[at + Q], rows[at + GRADIENT], data)
        energy = _kick(rows, at, length, reference) - logps[at]
        if state == 0:
            start = energy
        error = energy - start
        if not np.isfinite(error):
            error = np.inf
        if state > 0:
            n_steps += 1
            acceptance += min(1.0, np.exp(-error))
            if np.abs(error) > np.abs(largest):
                largest = error
        if error > MAX_ENERGY_ERROR:
            stop = 1
        errors[at] = error
        needed[FIRST], needed[LAST], needed[BEST] = at, at, at
        weight, size, momenta = -error, 0, at + P
        while stop == 0 and (state >> size) & 1:
            half = WAITING + 3 * size
            first, last = needed[half] + P, needed[half + 1] + P
            before = last if size == 0 else sums + size
            total = _log_add(weights[size], weight)
            # Biased towards the new half: the trajectory's ends are preferred to its beginning.
            against = weights[size] if state + 1 == 2 << size else total
            if not np.log(uniforms[n_used]) < weight - against:
                needed[BEST] = needed[half + 2]
            n_used += 1
            middle = needed[FIRST] + P
            if _join(rows, reference[2], before, momenta, first, last, middle, at + P, sums):
                stop = 2
            needed[FIRST], momenta, weight, size = needed[half], sums, total, size + 1
            needed[half], needed[half + 1], needed[half + 2] = -1, -1, -1
        if state + 1 == 1 << size:
            needed[DRAWN] = needed[BEST]
        if stop != 0:
            break
        half = WAITING + 3 * size
        needed[half], needed[half + 1], needed[half + 2] = needed[FIRST], at, needed[BEST]
        weights[size] = weight
        if size > 0:
            _put(rows[sums], rows, sums + size)
    drawn = needed[DRAWN]
    return drawn, logps[drawn], start, errors[drawn], largest, acceptance, n_steps, depth, stop


def density_of_draw(q: np.ndarray, data: tuple[Any, ...]) -> tuple[float, np.ndarray]:
    """Log density and gradient as `nuts_draw` evaluates them: a draw that ends where it begins."""
    nothing, none, rows = np.zeros(len(q)), np.zeros(0), np.empty((n_rows(0), len(q)))
    reference = q, nothing, nothing
    drawn, logp, *_ = nuts_draw(q, nothing, 0.0, reference, none.astype(int), none, rows, data)
    return logp, rows[drawn + GRADIENT]

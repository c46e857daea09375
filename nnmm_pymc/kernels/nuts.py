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

import numpy as np

from nnmm_pymc.kernels.jit import FAST, kernel, part, section
from nnmm_pymc.kernels.network import network_density

__all__ = ["nuts_draw"]

# Energy error beyond which a trajectory counts as divergent.
MAX_ENERGY_ERROR = 1000.0


@part(fastmath=FAST)
def _kick_and_turn(q, p, gradient, step, reference, new_q, new_p):
    """First half of the kick, then the exact flow of the reference."""
    centre, precision, inverse_mass = reference
    cos, sin = np.cos(step), np.sin(step)
    for i in range(q.shape[0]):
        away = q[i] - centre[i]
        kicked = p[i] + 0.5 * step * (gradient[i] + precision[i] * away)
        new_q[i] = centre[i] + cos * away + sin * inverse_mass[i] * kicked
        new_p[i] = cos * kicked - sin * precision[i] * away


@part(fastmath=FAST)
def _kick(q, p, gradient, step, reference):
    """Second half of the kick, in place; returns the kinetic energy."""
    centre, precision, inverse_mass = reference
    total = 0.0
    for i in range(p.shape[0]):
        p[i] += 0.5 * step * (gradient[i] + precision[i] * (q[i] - centre[i]))
        total += p[i] * p[i] * inverse_mass[i]
    return 0.5 * total


@section
def _leapfrog(q, p, gradient, step, reference, data):
    new_q, new_p, new_gradient = np.empty_like(q), np.empty_like(q), np.empty_like(q)
    _kick_and_turn(q, p, gradient, step, reference, new_q, new_p)
    logp = network_density(new_q, new_gradient, data)
    return new_q, new_p, new_gradient, logp, _kick(new_q, new_p, new_gradient, step, reference)


@part(fastmath=FAST)
def _turning(one, other, inverse_mass, p_first, p_last):
    """Whether a trajectory whose momenta sum to ``one + other`` turns at either end."""
    at_first, at_last = 0.0, 0.0
    for i in range(one.shape[0]):
        weighted = (one[i] + other[i]) * inverse_mass[i]
        at_first += weighted * p_first[i]
        at_last += weighted * p_last[i]
    return at_first <= 0.0 or at_last <= 0.0


@part()
def _log_add(a, b):
    top = max(a, b)
    if top == -np.inf:
        return top
    return top + np.log(np.exp(a - top) + np.exp(b - top))


@section
def _subtree(q, p, gradient, depth, step, start_energy, reference, uniforms, counters, data):
    """Build a subtree of 2^depth states beyond (q, p), state by state.

    Two neighbours of the same size become one as soon as there are two, so at most one of each size
    waits for the half that follows it.

    Returns the innermost momentum, the outermost state, the sum of momenta, the proposal (position,
    gradient, log density, energy), the log weight, and whether to stop (1 divergent, 2 turning).
    `counters` holds the number of leapfrog steps, the sum of acceptance probabilities, the next
    uniform, and the largest energy error.
    """
    inverse_mass = reference[2]
    inners, lasts, sums = [p] * depth, [p] * depth, [p] * depth
    proposals, slopes = [q] * depth, [gradient] * depth
    logps, energies, weights = np.zeros(depth), np.zeros(depth), np.zeros(depth)
    for state in range(1 << depth):
        q, p, gradient, logp, kinetic = _leapfrog(q, p, gradient, step, reference, data)
        energy = kinetic - logp
        error = energy - start_energy
        counters[0] += 1
        stop = 0
        if not np.isfinite(error):
            error = np.inf
        if np.abs(error) > np.abs(counters[3]):
            counters[3] = error
        if error > MAX_ENERGY_ERROR:
            stop = 1
        counters[1] += min(1.0, np.exp(-error))
        inner, p_sum, best_q, best_g, best_logp, best_energy = p, p, q, gradient, logp, energy
        weight, size = -error, 0
        while stop == 0 and (state >> size) & 1:
            total = _log_add(weights[size], weight)
            index = int(counters[2])
            counters[2] += 1
            if not np.log(uniforms[index]) < weight - total:
                best_q, best_g = proposals[size], slopes[size]
                best_logp, best_energy = logps[size], energies[size]
            first, last, before = inners[size], lasts[size], sums[size]
            if (
                _turning(before, p_sum, inverse_mass, first, p)
                or _turning(before, inner, inverse_mass, first, inner)
                or _turning(last, p_sum, inverse_mass, last, p)
            ):
                stop = 2
            inner, p_sum, weight, size = first, before + p_sum, total, size + 1
        if stop != 0:
            break
        if size < depth:
            inners[size], lasts[size], sums[size] = inner, p, p_sum
            proposals[size], slopes[size] = best_q, best_g
            logps[size], energies[size], weights[size] = best_logp, best_energy, weight
    return inner, q, p, gradient, p_sum, best_q, best_g, best_logp, best_energy, weight, stop


@kernel()
def nuts_draw(q, p, gradient, logp, step, reference, max_depth, directions, uniforms, data):
    """Draw once.

    Parameters
    ----------
    q, p, gradient : (m,) arrays
        Position, momentum and gradient of the log density.
    logp : float
    step : float
        Step size.
    reference : tuple of three (m,) arrays
        c, and the diagonals of V^-1 and V.
    max_depth : int
    directions : (max_depth,) array of -1 and 1
    uniforms : array of at least 2^max_depth + max_depth numbers
    data : tuple
        For `network_density`.

    Returns
    -------
    q, gradient, logp, energy_error : of the new state
    info : array
        Depth, leapfrog steps, mean acceptance probability, divergent, largest energy error, whether
        the trajectory turned.
    """
    inverse_mass = reference[2]
    start_energy = 0.5 * np.sum(p * p * inverse_mass) - logp
    counters = np.zeros(4)
    left_q, left_p, left_g = q, p, gradient
    right_q, right_p, right_g = q, p, gradient
    p_sum = p.copy()
    best_q, best_g, best_logp, best_energy = q, gradient, logp, start_energy
    weight = 0.0
    depth = 0
    stop = 0
    for grown in range(max_depth):
        forward = directions[grown] > 0
        begin_q, begin_p, begin_g = left_q, left_p, left_g
        if forward:
            begin_q, begin_p, begin_g = right_q, right_p, right_g
        # The one call: it becomes code of this function, the density with it.
        # fmt: off
        inner, end_q, end_p, end_g, sum2, new_q, new_g, new_logp, new_energy, weight2, stop = (
            _subtree(begin_q, begin_p, begin_g, grown, step if forward else -step, start_energy,
                     reference, uniforms, counters, data)
        )
        # fmt: on
        if forward:
            sum_left, sum_right = p_sum, sum2
            left_end, right_begin = right_p, inner
        else:
            sum_left, sum_right = sum2, p_sum
            left_end, right_begin = inner, left_p
        depth = grown + 1
        if stop != 0:
            break
        if forward:
            right_q, right_p, right_g = end_q, end_p, end_g
        else:
            left_q, left_p, left_g = end_q, end_p, end_g
        index = int(counters[2])
        counters[2] += 1
        # Biased towards the new half: the trajectory's ends are preferred to its beginning.
        if np.log(uniforms[index]) < weight2 - weight:
            best_q, best_g, best_logp, best_energy = new_q, new_g, new_logp, new_energy
        weight = _log_add(weight, weight2)
        if (
            _turning(p_sum, sum2, inverse_mass, left_p, right_p)
            or _turning(sum_left, right_begin, inverse_mass, left_p, right_begin)
            or _turning(left_end, sum_right, inverse_mass, left_end, right_p)
        ):
            stop = 2
            break
        p_sum = p_sum + sum2
    info = np.array(
        [
            depth,
            counters[0],
            counters[1] / max(1.0, counters[0]),
            1.0 if stop == 1 else 0.0,
            counters[3],
            1.0 if stop == 2 else 0.0,
        ]
    )
    return best_q, best_g, best_logp, best_energy - start_energy, info

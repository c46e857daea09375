r"""Move of two variances that share what the data see the sum of, such as additive and permanent.

Drawing variances given effects moves them by as little as the effects determine them, though the
data say little of how their sum is shared. Along the line where :math:`A = T h` and
:math:`P = T (1 - h)` keep their sum T, with the logit of h as its coordinate and

.. math:: z = (u - m) / d, \qquad u(h) = m(h) + d(h)\, z

held, where m is the mean of the effects u given the variances (nested effects integrated out) and d
their standard deviations one at a time, the coordinate has the density

.. math:: p(A)\, p(P)\, h (1 - h)\, p(y, u(h) \mid A, P) \prod_i d_i(h)

(interweaving, the effects made partly independent of their variances: Papaspiliopoulos, Roberts &
Skold 2007, Stat Sci 22:59; Yu & Meng 2011, J Comput Graph Stat 20:531). No determinant is needed,
since u(h) is a diagonal map of u; the better m and d describe the effects, the farther a move goes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from nnmm_pymc.kernels.slice import slice_sample
from nnmm_pymc.steps.collapsed import Collapsed
from nnmm_pymc.steps.conditional import Point

__all__ = ["NESTED", "OUTER", "RECORDS", "Share", "Trade"]

# What a variance is of: the effects u, those nested in them, the records.
OUTER, NESTED, RECORDS = range(3)


@dataclass(frozen=True, eq=False)
class Share:
    """A variance that takes part in a trade.

    Attributes
    ----------
    variance : str
        Value variable (log v).
    role : int
        What it is of: OUTER, NESTED or RECORDS.
    unit : array
        Variance that it gives the records at v = 1, in the shape of v.
    log_prior : callable
        Density of v, by its elements, at a point and at another log v.
    """

    variance: str
    role: int
    unit: np.ndarray
    log_prior: Callable[[Point, np.ndarray], np.ndarray]


class Trade:
    """Draw of the shares of two variances in their sum, the effects moved along.

    Parameters
    ----------
    one, other : Share
        In one shape: a value for each response, or one for all.
    width : float
        Of the slice, on the scale of the log odds.
    """

    def __init__(self, one: Share, other: Share, width: float):
        self.one, self.other, self.width = one, other, width

    @property
    def variances(self) -> list[str]:
        """Value variables of both."""
        return [self.one.variance, self.other.variance]

    def move(
        self,
        point: Point,
        collapsed: Sequence[Collapsed],
        effects: np.ndarray,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """Put new variances into the point, in place; returns the effects there.

        Parameters
        ----------
        point : dict
        collapsed : sequence of Collapsed
            Of every response.
        effects : (level, response) array
            u.
        """
        line = Line(self, point, collapsed, effects)
        moved = line.moved(slice_sample(line.start, line.log_density, rng, self.width))
        for share, step in zip(line.shares, moved, strict=True):
            point[share.variance] = point[share.variance] + step
        # Of every response the last place that was looked at is the draw.
        return np.stack([u for _, u, _ in line.last], axis=1)


class Line:
    """The line of a trade through the present effects and variances; coordinates are log odds."""

    def __init__(
        self, trade: Trade, point: Point, collapsed: Sequence[Collapsed], effects: np.ndarray
    ):
        self.shares, self.point = (trade.one, trade.other), point
        self.begin = list(collapsed)
        columns = zip(self.begin, effects.T, strict=True)
        self.white = [(u - at.centre) / at.spread for at, u in columns]
        one, other = (point[s.variance] + np.log(s.unit) for s in self.shares)
        self.start = np.asarray(one - other)
        # Of each response: where it was looked at last, and what was found there.
        odds = np.broadcast_to(np.ravel(self.start), len(self.begin))
        here = zip(odds, self.begin, effects.T, strict=True)
        self.last = [(float(t), u, _density(at, u)) for t, at, u in here]

    def moved(self, odds: np.ndarray) -> list[np.ndarray]:
        """What is added to the logarithms of the two variances."""
        return [np.logaddexp(0.0, s * self.start) - np.logaddexp(0.0, s * odds) for s in (-1, 1)]

    def density_at(self, response: int, odds: float, moved: Sequence[float]) -> float:
        """Log density of data and effects of a response."""
        if self.last[response][0] != odds:
            factors = np.ones(3)
            factors[[s.role for s in self.shares]] = np.exp(moved)
            there = self.begin[response].scaled(factors)
            u = there.centre + there.spread * self.white[response]
            self.last[response] = odds, u, _density(there, u)
        return self.last[response][2]

    def log_density(self, odds: np.ndarray) -> np.ndarray:
        """Log density of log odds, in their shape."""
        moved = self.moved(odds)
        each = [np.broadcast_to(np.ravel(a), len(self.begin)) for a in (odds, *moved)]
        data = [self.density_at(c, t, own) for c, (t, *own) in enumerate(zip(*each, strict=True))]
        total = np.sum(data) if np.size(odds) == 1 else np.reshape(data, np.shape(odds))
        for share, step in zip(self.shares, moved, strict=True):
            prior = share.log_prior(self.point, self.point[share.variance] + step)
            total = total + prior
        return total - np.logaddexp(0.0, odds) - np.logaddexp(0.0, -odds)


def _density(at: Collapsed, u: np.ndarray) -> float:
    """Of the effects and the records, with the volume that the effects span."""
    return at.log_density(u) + float(np.log(at.spread).sum())

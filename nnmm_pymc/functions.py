"""Functions of nodes that a user writes: traced with PyTensor, evaluated again for predictions.

A function takes PyTensor variables, one for each word between its brackets: a vector for a column,
an (individual, column) matrix for a layer. It returns a vector or a matrix with a row for each
individual. Variables that it makes with PyMC are unknown parameters of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
from pytensor.graph.replace import graph_replace
from scipy.special import ndtri

from nnmm_pymc.errors import InputError

__all__ = ["NodeFunction"]

#: Points of the nodes' residuals over which the mean of a function is taken.
N_RESIDUALS = 64
#: Sets of such points, which the draws take in turn.
N_SETS = 32


@dataclass(eq=False)
class NodeFunction:
    """A user's function with the ranks of its arguments.

    Parameters
    ----------
    name : str
        As in the formula.
    function : callable
    ranks : tuple of int
        1 for a column, 2 for a layer.
    """

    name: str
    function: Callable[..., Any]
    ranks: tuple[int, ...]
    _compiled: Any = field(default=None, repr=False)

    def __call__(self, arguments: Sequence[Any]) -> Any:
        """(individual, output) matrix of PyTensor; inside a model its parameters become part of it.

        Raises
        ------
        InputError
            The function fails or returns something else.
        """
        try:
            out = pt.as_tensor(self.function(*arguments))
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"The function {self.name!r} failed on {len(arguments)} PyTensor variables: "
                f"{type(error).__name__}: {error}"
            ) from error
        if out.ndim not in (1, 2):
            raise InputError(
                f"The function {self.name!r} returned {out.ndim} axes; it must return one number, "
                "or a few, for each individual."
            )
        return out[:, None] if out.ndim == 1 else out

    def _trace(self) -> Any:
        """The function as compiled code of its arguments and parameters."""
        if self._compiled is None:
            inputs = [pt.dmatrix() if rank == 2 else pt.dvector() for rank in self.ranks]
            # No part of a model that is being built around it.
            with pm.Model(model=None) as model:
                out = self(inputs)
            names = {rv.name: rv.type() for rv in model.free_RVs}
            discrete = [rv.name for rv in model.free_RVs if rv.dtype.startswith(("int", "bool"))]
            if discrete:
                raise InputError(
                    f"The function {self.name!r} has the discrete unknown {discrete[0]!r}, which "
                    "no step draws; give it continuous ones."
                )
            out = graph_replace(
                [out], {model[name]: value for name, value in names.items()}, strict=False
            )[0]
            compiled = pytensor.function(
                [*inputs, *names.values()], out, mode="FAST_COMPILE", on_unused_input="ignore"
            )
            self._compiled = (model, list(names), compiled)
        return self._compiled

    @property
    def parameters(self) -> list[str]:
        """Names of the unknown parameters of the function's own."""
        return self._trace()[1]

    def evaluate(
        self, arguments: Sequence[np.ndarray], parameters: Mapping[str, Any]
    ) -> np.ndarray:
        """(individual, output) values at given arguments and parameters."""
        _, names, compiled = self._trace()
        return compiled(*arguments, *(np.asarray(parameters[name], float) for name in names))

    def scale(self, arguments: Sequence[np.ndarray]) -> np.ndarray:
        """Standard deviation of each output at the prior mean of the parameters' draws."""
        model, names, _ = self._trace()
        drawn = (
            pm.draw([model[n] for n in names], random_seed=1, mode="FAST_COMPILE") if names else []
        )
        with np.errstate(all="ignore"):
            out = self.evaluate(arguments, dict(zip(names, drawn, strict=True)))
            sd = np.nanstd(np.where(np.isfinite(out), out, np.nan), axis=0)
        return np.where(np.isfinite(sd) & (sd > 0), sd, 1.0)

    def moments(
        self,
        means: Sequence[np.ndarray],
        sds: Sequence[np.ndarray],
        parameters: Mapping[str, np.ndarray],
        index: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of the function where its arguments are normal.

        Taken over Latin hypercubes (McKay et al. 1979, Technometrics 21:239), another one for each
        draw: an error in the mean that is the same for all draws no number of draws removes.

        Parameters
        ----------
        means, sds : sequences of (draw, individual) or (draw, individual, column) arrays
        parameters : mapping
            Of the function's own, the leading axis running over the draws.
        index : (draw,) array of int
            Which draws these are: the result of one does not depend on the others.

        Returns
        -------
        mean, variance : (draw, individual, output) arrays
            Over `N_RESIDUALS` points.
        """
        n = means[0].shape[1]
        widths = [m.shape[2] if m.ndim == 3 else 1 for m in means]
        points, stops = _normal_points(sum(widths)), np.cumsum(widths)[:-1]
        first, second = [], []
        for d, own in enumerate(points[index % N_SETS]):
            noise = np.split(own, stops, axis=1)
            drawn = [
                (m[d] + s[d] * z.reshape(-1, 1, *m.shape[2:])).reshape(-1, *m.shape[2:])
                for m, s, z in zip(means, sds, noise, strict=True)
            ]
            out = self.evaluate(drawn, {k: v[d] for k, v in parameters.items()})
            out = out.reshape(N_RESIDUALS, n, -1)
            first.append(out.mean(axis=0))
            second.append(out.var(axis=0))
        return np.array(first), np.array(second)


@lru_cache(maxsize=4)
def _normal_points(dimension: int) -> np.ndarray:
    """(N_SETS, N_RESIDUALS, dimension): sets of points spread like independent normals."""
    from scipy.stats.qmc import LatinHypercube  # Slow to import.

    cube = LatinHypercube(dimension, rng=0)
    points = ndtri([cube.random(N_RESIDUALS) for _ in range(N_SETS)])
    points -= points.mean(axis=1, keepdims=True)
    if dimension > N_RESIDUALS // 2:
        return points / points.std(axis=1, keepdims=True)
    # Uncorrelated too, so that products of two nodes are exact.
    covariance = points.swapaxes(1, 2) @ points / N_RESIDUALS
    whitened = np.linalg.solve(np.linalg.cholesky(covariance), points.swapaxes(1, 2))
    return whitened.swapaxes(1, 2)

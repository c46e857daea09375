"""Stand-ins for a generator: an update is read by setting the random numbers that it is given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

__all__ = ["Given", "NoteNormals", "NoteParameters", "standing_in"]


class Given:
    """Hands out arrays in the order in which they are asked for, each once.

    Parameters
    ----------
    uniforms, normals : sequences of arrays
        For `random` and `standard_normal`. When they are used up, uniforms are 1/2 and normals 0.
    """

    def __init__(self, uniforms: Sequence[np.ndarray] = (), normals: Sequence[np.ndarray] = ()):
        self.uniforms, self.normals = [*uniforms], [*normals]

    def random(self, size: Any) -> np.ndarray:
        return np.broadcast_to(self.uniforms.pop(0) if self.uniforms else 0.5, size).copy()

    def standard_normal(self, size: Any) -> np.ndarray:
        return np.broadcast_to(self.normals.pop(0) if self.normals else 0.0, size).copy()

    def uniform(self, low: float, high: float) -> float:
        """The middle of the interval."""
        return 0.5 * (low + high)


class NoteNormals:
    """Normal numbers times `scale`, their squares summed; every proposal is turned down.

    The first `skipped` arrays, of momenta, are not counted.
    """

    def __init__(self, rng: np.random.Generator, scale: float, skipped: int = 0):
        self.rng, self.scale, self.skipped = rng, scale, skipped
        self.square = 0.0

    def standard_normal(self, size: Any) -> np.ndarray:
        drawn = self.scale * self.rng.standard_normal(size)
        self.skipped -= 1
        if self.skipped < 0:
            self.square += float(np.sum(drawn**2))
        return drawn

    def random(self, size: Any) -> np.ndarray:
        return np.ones(size)

    def uniform(self, low: float, high: float) -> float:
        return 0.5 * (low + high)


class NoteParameters(np.random.Generator):
    """Notes the distributions that are asked for; what is drawn from them are `units`."""

    def __init__(self, scale: float):
        super().__init__(np.random.PCG64(0))
        self.scale = scale
        self.asked: list[tuple[str, list[np.ndarray]]] = []

    def units(self, shape: tuple[int, ...]) -> np.ndarray:
        """From `scale` to twice that, so that elements that were swapped would show."""
        size = int(np.prod(shape))
        return self.scale * (1.0 + np.arange(size) / max(1, size)).reshape(shape)

    def _note(self, name: str, *parameters: Any) -> np.ndarray:
        same = [np.array(p) for p in np.broadcast_arrays(*parameters)]
        self.asked.append((name, same))
        return self.units(same[0].shape)

    def standard_gamma(self, shape: Any, *_: Any, **__: Any) -> Any:
        return self._note("gamma", shape)

    def beta(self, a: Any, b: Any, *_: Any) -> Any:
        return self._note("beta", a, b)

    def wald(self, mean: Any, scale: Any, *_: Any) -> Any:
        return self._note("wald", mean, scale)


@contextmanager
def standing_in(owner: Any, name: str, other: Any) -> Iterator[None]:
    """Put `other` in the place of an attribute for a while."""
    own = getattr(owner, name)
    setattr(owner, name, other)
    try:
        yield
    finally:
        setattr(owner, name, own)

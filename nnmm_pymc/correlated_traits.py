"""Traits of an individual given its other traits, where their residuals correlate."""

from __future__ import annotations

import numpy as np

__all__ = ["correlated_noise", "traits_given_others"]


def correlated_noise(covariance: np.ndarray, white: np.ndarray) -> np.ndarray:
    """Residuals (draw, individual, trait) from standard normal numbers of the same shape."""
    return white @ np.linalg.cholesky(covariance).swapaxes(1, 2)


def traits_given_others(
    mean: np.ndarray,
    covariance: np.ndarray,
    given: np.ndarray,
    chosen: np.ndarray,
    levels: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean of all traits given some, and log density of others.

    Parameters
    ----------
    mean : (draw, individual, trait) array
        Without anything given.
    covariance : (draw, trait, trait) array
        Of the residuals.
    given, chosen : (individual, trait) arrays
        Known traits, and those whose density is wanted; NaN for others.
    levels : (draw, individual, trait) array, optional
        Variances of independent effects of levels that are not known.

    Returns
    -------
    mean : (draw, individual, trait) array
    density : (draw, individual) array
        Jointly of the chosen traits of an individual.
    """
    mean, density = mean.copy(), np.zeros(mean.shape[:2])
    levels = np.zeros(mean.shape) if levels is None else levels
    state = (~np.isnan(given)) + 2 * (~np.isnan(chosen))
    # The variances of two individuals are the same in all draws, or in none.
    kinds, which = np.unique(np.hstack([state, levels[0]]), axis=0, return_inverse=True)
    for k, kind in enumerate(kinds[:, : state.shape[1]]):
        rows = np.flatnonzero(which.ravel() == k)
        known, wanted = np.flatnonzero(kind == 1), np.flatnonzero(kind == 2)
        total = covariance + np.eye(state.shape[1]) * levels[:, rows[:1]]
        cross = total[:, known]
        slopes = np.linalg.solve(cross[:, :, known], cross)
        away = given[np.ix_(rows, known)] - mean[:, rows][..., known]
        mean[:, rows] += away @ slopes
        left = total - cross.swapaxes(1, 2) @ slopes
        error = chosen[np.ix_(rows, wanted)] - mean[:, rows][..., wanted]
        spread = left[:, wanted][:, :, wanted]
        square = np.sum(error * np.linalg.solve(spread, error.swapaxes(1, 2)).swapaxes(1, 2), -1)
        log_det = np.linalg.slogdet(2.0 * np.pi * spread)[1]
        density[:, rows] = -0.5 * (square + log_det[:, None])
    return mean, density

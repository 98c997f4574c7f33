"""The rank of a noisy matrix, in closed form but for one number (Nakajima et al., JMLR 2013).

Empirical variational Bayes matrix factorisation: the matrix is a low-rank one plus noise of unknown variance. For a
known variance, the global solution keeps the singular values above a threshold; the variance itself minimises one
function of one number.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]


def variational_rank(matrix: npt.ArrayLike) -> int:
    """How many singular values of a matrix stand out of its noise.

    Args:
        matrix: L x M, finite; at least one row and one column.
    """
    values = np.asarray(matrix, dtype=np.float64)
    values = values if values.shape[0] <= values.shape[1] else values.T
    rows, columns = values.shape
    squares: Values = np.asarray(np.linalg.svd(values, compute_uv=False) ** 2, dtype=np.float64)
    if not squares[0] > 0:
        return 0
    alpha = rows / columns
    threshold = _threshold(alpha)
    noise = _noise_variance(squares, columns, alpha, threshold)
    return int((squares > columns * noise * threshold).sum())


def _threshold(alpha: float) -> float:
    """The smallest squared singular value that is kept, in units of columns x noise variance (Theorem 2 there).

    It is (1 + tau)(1 + alpha / tau) at the zero tau of phi(tau) + phi(tau / alpha), phi(z) = log(z + 1) / z - 1 / 2,
    found by bisection: phi falls, from 1/2 at zero.
    """
    low, high = 1e-9, 10.0
    for _ in range(200):
        tau = (low + high) / 2
        total = np.log1p(tau) / tau + alpha * np.log1p(tau / alpha) / tau - 1
        low, high = (tau, high) if total > 0 else (low, tau)
    return float((1 + low) * (1 + alpha / low))


def _noise_variance(squares: Values, columns: int, alpha: float, threshold: float) -> float:
    """The variance that minimises the free energy (Theorem 3 there), between its bounds: a grid, then finer ones."""
    rows = len(squares)
    upper = float(squares.sum()) / (rows * columns)
    most = min(int(np.ceil(rows / (1 + alpha))) - 1, rows - 1)  # no more components can stand out
    rest = squares[most:]
    lower = max(float(rest[0]) / (columns * threshold), float(rest.mean()) / columns)
    lower = min(max(lower, upper * 1e-12), upper)
    grid = np.geomspace(lower, upper, 1001)
    for _ in range(4):
        energies = _free_energy(squares[:, None] / (columns * grid[None]), alpha, threshold)
        best = int(energies.argmin())
        grid = np.linspace(grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)], 101)
    energies = _free_energy(squares[:, None] / (columns * grid[None]), alpha, threshold)
    return float(grid[int(energies.argmin())])


def _free_energy(scaled: Values, alpha: float, threshold: float) -> Values:
    """Free energy for each noise variance but for constants; `scaled` is squared singular values, (rows, variances)."""
    scaled = np.maximum(scaled, np.finfo(np.float64).tiny)
    noise = scaled - np.log(scaled)
    above = scaled > threshold
    root = np.sqrt(np.maximum((scaled - (1 + alpha)) ** 2 - 4 * alpha, 0.0))
    tau = np.maximum((scaled - (1 + alpha) + root) / 2, 0.0)
    kept = np.log1p(tau) + alpha * np.log1p(tau / alpha) - tau
    return np.asarray((noise + np.where(above, kept, 0.0)).sum(axis=0))

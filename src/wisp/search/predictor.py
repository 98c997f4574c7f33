"""A cheap guess of a network's F1 from its choices: Bayesian ridge regression on what was measured so far."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_LEAST = 12  # measurements before it says anything
_REFIT = 1.1  # fit again after so many times the measurements


class Predictor:
    """Linear in the features and their squares, shrunk towards the mean.

    The strength of the shrinking is the evidence's choice (MacKay, 1992), so that few measurements say little.
    """

    def __init__(self) -> None:
        self._rows: list[npt.NDArray[np.float64]] = []
        self._values: list[float] = []
        self._fitted_on = 0
        self._model: (
            tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64], float] | None
        ) = None

    @property
    def is_ready(self) -> bool:
        """Whether there are enough measurements."""
        return len(self._rows) >= _LEAST

    def learn(self, features: npt.NDArray[np.float64], value: float) -> None:
        """One measurement. Shapes: features (n,)."""
        self._rows.append(np.concatenate((features, features**2)))
        self._values.append(value)

    def predict(self, features: npt.NDArray[np.float64]) -> float:
        """The expected value.

        Raises:
            ValueError: there are too few measurements (see `is_ready`).
        """
        if not self.is_ready:
            raise ValueError(f"{len(self._rows)} measurements: at least {_LEAST}")
        if self._model is None or len(self._rows) > self._fitted_on * _REFIT:
            self._model = _fit(np.stack(self._rows), np.array(self._values))
            self._fitted_on = len(self._rows)
        centre, scale, weights, mean = self._model
        row = np.concatenate((features, features**2))
        return float((row - centre) / scale @ weights + mean)


def _fit(
    rows: npt.NDArray[np.float64], values: npt.NDArray[np.float64], iterations: int = 30
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64], float]:
    """Centre, scale, weights and mean of the ridge whose two precisions maximise the evidence.

    Shapes: rows (n, d), values (n,).
    """
    centre, scale = rows.mean(axis=0), rows.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    mean = float(values.mean())
    x, y = (rows - centre) / scale, values - mean
    u, s, vt = np.linalg.svd(x, full_matrices=False)
    projected = u.T @ y
    noise, prior = 1.0 / max(float(y.var()), 1e-12), 1.0
    weights = np.zeros(x.shape[1])
    for _ in range(iterations):
        weights = vt.T @ (noise * s * projected / (noise * s**2 + prior))
        gamma = float((noise * s**2 / (noise * s**2 + prior)).sum())
        residual = float(((y - x @ weights) ** 2).sum())
        prior = gamma / max(float(weights @ weights), 1e-12)
        noise = max(len(y) - gamma, 1e-6) / max(residual, 1e-12)
    return centre, scale, weights, mean

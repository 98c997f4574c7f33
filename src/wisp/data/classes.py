"""A data set's classes and a model's, matched by name."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from wisp.errors import ModelError
from wisp.records import Dataset


def class_order(dataset: Dataset, labels: Sequence[str]) -> npt.NDArray[np.int64]:
    """For each class of the data set its index among the model's labels; names are compared in Unicode NFC.

    The data set may lack classes of the model, and have another order.

    Raises:
        ModelError: the model does not know a class of the data set.
    """
    known = {unicodedata.normalize("NFC", label): index for index, label in enumerate(labels)}
    names = [unicodedata.normalize("NFC", name) for name in dataset.classes]
    missing = [name for name in names if name not in known]
    if missing:
        raise ModelError(
            f"{dataset.root}: the model does not know the class '{missing[0]}'; it was trained on: "
            f"{', '.join(labels)}"
        )
    return np.array([known[name] for name in names], dtype=np.int64)

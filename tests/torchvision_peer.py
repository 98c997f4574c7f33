"""torchvision's networks, also where its wheel was not made for this torch."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import pytest
import torch

_LIBRARIES: list[torch.library.Library] = []


def load_torchvision() -> ModuleType:
    """`torchvision.models`; the compiled operators that a strange wheel lacks, and looks up at once, are declared."""
    if find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    try:
        return import_module("torchvision.models")
    except RuntimeError as error:
        assert "torchvision::nms" in str(error)  # noqa: PT017
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _LIBRARIES.append(library)
    return import_module("torchvision.models")

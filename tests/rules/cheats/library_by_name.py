"""A library whose name is put together."""

# not run
from __future__ import annotations

import importlib

from torch import nn


def build(num_classes: int = 9) -> nn.Module:
    # caught: external-libraries imports timm
    library = importlib.import_module("".join(["ti", "mm"]) + "." + "sledom"[::-1])
    return library.create_model("tinynet_e", num_classes=num_classes)

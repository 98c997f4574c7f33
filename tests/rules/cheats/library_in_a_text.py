"""An import inside a text that is executed."""

# not run
from __future__ import annotations

from torch import nn


def build(num_classes: int = 9) -> nn.Module:
    space: dict[str, object] = {}
    # caught: external-libraries imports timm
    exec("from timm import create_model", space)  # noqa: S102  (that is the trick)
    return space["create_model"]("tinynet_e", num_classes=num_classes)

"""Another library under another name, imported where it is used."""

# not run
from __future__ import annotations

from torch import nn


def build(num_classes: int = 9) -> nn.Module:
    # caught: external-libraries imports timm
    import timm as vision  # noqa: PLC0415  (that is the trick)

    return vision.create_model("tinynet_e", num_classes=num_classes)

"""A library taken from the table of loaded modules."""

# not run
from __future__ import annotations

import sys

from torch import nn


def build(num_classes: int = 9) -> nn.Module:
    # caught: external-libraries imports timm
    return sys.modules["timm"].create_model("tinynet_e", num_classes=num_classes)

"""A model from elsewhere, by torch itself."""

# not run
from __future__ import annotations

import torch
from torch import nn


def build(num_classes: int = 9) -> nn.Module:
    # caught: external-libraries torch.hub.load loads a model from elsewhere
    return torch.hub.load("owner/repository", "tiny", num_classes=num_classes)

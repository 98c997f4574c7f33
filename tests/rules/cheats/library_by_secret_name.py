"""A library whose name only the run knows."""

# not run
from __future__ import annotations

import os

from torch import nn


def build(num_classes: int = 9) -> nn.Module:
    # caught: external-libraries imports a module whose name is made while it runs
    library = __import__(os.environ["LIBRARY"])
    return library.create_model("tinynet_e", num_classes=num_classes)

"""Models shipped with the package: one `.onnx` each, with a card that says what it is and what it is not."""

from wisp.zoo.card import ModelCard
from wisp.zoo.shipped import DEFAULT, ShippedModel, find_model, shipped_models

__all__ = ["DEFAULT", "ModelCard", "ShippedModel", "find_model", "shipped_models"]

"""From a photo to its label with numpy, Pillow and ONNX Runtime alone; never torch."""

from wisp.runtime.classifier import Classifier, Prediction

__all__ = ["Classifier", "Prediction"]

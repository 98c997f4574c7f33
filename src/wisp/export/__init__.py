"""From a trained network to one file that runs without torch, proven to agree with it."""

from wisp.export.fold import fold_batchnorm
from wisp.export.onnx import ParityReport, export_onnx

__all__ = ["ParityReport", "export_onnx", "fold_batchnorm"]

"""From a trained network to one file that runs without torch, proven to agree with it."""

from wisp.export.onnx import ParityReport, export_onnx
from wisp.models.folding import fold_batchnorm

__all__ = ["ParityReport", "export_onnx", "fold_batchnorm"]

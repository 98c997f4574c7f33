"""A tiny wisp model that names the strongest colour of a photo, written with onnx alone (no torch, no exporter)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from wisp.artifact import INPUT_NAME, OUTPUT_NAME, ArtifactInfo
from wisp.records import ResizeRule

LABELS = ("Red", "Green", "Blue")
INFO = ArtifactInfo(
    labels=LABELS,
    resize=ResizeRule(16),
    macs=12_345,
    params=9,
    macs_as_trained=12_400,
    provenance={"seed": 0},
)


def colour_graph(
    size: int = 16, input_name: str = INPUT_NAME, input_type: int = TensorProto.UINT8
) -> onnx.ModelProto:
    """Mean of each channel, times ten, through a softmax: uint8 N x size x size x 3 to float32 N x 3."""
    nodes = [
        helper.make_node("Cast", [input_name], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("GlobalAveragePool", ["nchw"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weight"], ["logits"]),
        helper.make_node("Softmax", ["logits"], [OUTPUT_NAME], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info(input_name, input_type, ["batch", size, size, 3])],
        [helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, ["batch", 3])],
        [
            numpy_helper.from_array(np.array(1 / 255, np.float32), "scale"),
            numpy_helper.from_array(np.eye(3, dtype=np.float32) * 10, "weight"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def write_colour_model(
    path: Path, info: ArtifactInfo = INFO, *, metadata: Mapping[str, str] | None = None
) -> Path:
    """Write the model with the metadata of `info`, or with `metadata` instead."""
    model = colour_graph(info.resize.size)
    helper.set_model_props(model, dict(info.to_metadata() if metadata is None else metadata))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path

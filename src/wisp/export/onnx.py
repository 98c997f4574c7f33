"""One self-contained ONNX file: uint8 pixels in, probabilities out, and proof that it agrees with torch."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from wisp import __version__
from wisp.artifact import INPUT_NAME, OUTPUT_NAME, ArtifactInfo, seal
from wisp.data.augment import MEAN, STD
from wisp.errors import DataError, ExportError, ModelError
from wisp.files import replacing
from wisp.macs import count_macs
from wisp.models.folding import fold_batchnorm
from wisp.records import ResizeRule

# What onnxruntime 1.20, the oldest that the runtime accepts, is sure to read.
OPSET, IR_VERSION = 18, 10
TOLERANCE = 1e-4  # largest difference of a probability that passes as rounding
_BATCH = 64


@dataclass(frozen=True, slots=True)
class ParityReport:
    """How well the exported file agrees with torch on the check images.

    Attributes:
        n_images: number of images compared.
        max_abs_diff: largest difference of a probability between the file and the network as trained.
        max_abs_diff_folded: the same against the network with BatchNorm folded, the one that was written.
        top1_agreement: share of images on which the file and the network as trained name the same class.
        tolerance: the largest difference that was accepted.
    """

    n_images: int
    max_abs_diff: float
    max_abs_diff_folded: float
    top1_agreement: float
    tolerance: float = TOLERANCE

    def __str__(self) -> str:
        return (
            f"agrees with torch on {self.n_images} images: largest difference of a probability "
            f"{self.max_abs_diff:.1e} (tolerance {self.tolerance:.0e}), same class on {self.top1_agreement:.2%}"
        )


def export_onnx(
    model: nn.Module,
    *,
    labels: Sequence[str],
    resize: ResizeRule,
    macs_as_trained: int,
    provenance: Mapping[str, Any],
    check_images: npt.NDArray[np.uint8],
    path: Path,
) -> ParityReport:
    """Write `model` as one ONNX file and prove that the file computes what the model computes.

    The graph takes `image`, uint8 N x size x size x 3 (RGB), and gives `probabilities`, float32 N x classes; N is
    free. Scaling and ImageNet normalisation are inside, BatchNorm is folded, weights are in the file. Labels,
    resize rule, costs and provenance are its metadata; a digest of all of it stands at its end. Equal weights and
    metadata give equal bytes.

    Args:
        model: takes normalised float images N x 3 x size x size, gives logits N x classes. Left as it was.
        labels: class names, in the order of the logits.
        resize: how a photo becomes the input; its size is the input size.
        macs_as_trained: the counter's MACs of `model` itself; those of the folded network are counted here.
        provenance: where the model comes from; anything that JSON can hold.
        check_images: uint8 N x size x size x 3, at least one; real validation images make the proof worth most.
        path: the file to write.

    Returns:
        How well the file agrees with torch.

    Raises:
        ExportError: torch cannot export the model, or the file does not agree with it; nothing is written.
        ModelError: the number of labels is not the number of the model's outputs.
        DataError: the check images do not have the input's shape.
    """
    expected = (resize.size, resize.size, 3)
    if check_images.dtype != np.uint8 or check_images.shape[1:] != expected or not len(check_images):
        raise DataError(
            f"check images: need at least one uint8 image of shape {expected}, "
            f"got {check_images.dtype} {check_images.shape}"
        )
    folded = fold_batchnorm(model, resize.size)
    counts = count_macs(folded, resize.size)
    info = ArtifactInfo(
        labels=tuple(labels),
        resize=resize,
        macs=counts.total,
        params=counts.params,
        macs_as_trained=macs_as_trained,
        provenance=provenance,
    )
    as_trained = _probabilities(_Deployed(deepcopy(model).cpu().float()), check_images)
    if as_trained.shape[1:] != (len(labels),):
        raise ModelError(f"the network has {as_trained.shape[-1]} outputs for {len(labels)} labels")
    deployed = _Deployed(folded)
    graph = _graph(deployed, resize.size)
    _describe(graph, info)
    with replacing(path) as temporary:
        onnx.checker.check_model(graph, full_check=True)
        temporary.write_bytes(seal(graph.SerializeToString(deterministic=True)))
        written = _run(temporary, check_images)
        report = ParityReport(
            n_images=len(check_images),
            max_abs_diff=_max_abs_diff(written, as_trained),
            max_abs_diff_folded=_max_abs_diff(written, _probabilities(deployed, check_images)),
            top1_agreement=float((written.argmax(axis=1) == as_trained.argmax(axis=1)).mean()),
        )
        # Written so that a NaN anywhere fails too.
        if not max(report.max_abs_diff, report.max_abs_diff_folded) <= TOLERANCE:
            raise ExportError(
                f"{path.name}: not written, since it would not agree with the trained network: probabilities "
                f"differ by up to {report.max_abs_diff:.3g} (folded: {report.max_abs_diff_folded:.3g}, tolerance "
                f"{TOLERANCE:.0e}) on {report.n_images} images"
            )
    return report


class _Deployed(nn.Module):
    """uint8 NHWC -> probabilities, around a network that takes normalised float NCHW and gives logits."""

    scale: Tensor
    shift: Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        mean, std = torch.tensor(MEAN), torch.tensor(STD)
        # (x / 255 - mean) / std as one multiplication and one addition.
        self.register_buffer("scale", (1 / (255 * std)).reshape(1, 3, 1, 1))
        self.register_buffer("shift", (-mean / std).reshape(1, 3, 1, 1))
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        # contiguous() costs nothing in the graph; without it torch exports every pool of 1 x 1 as a slow gather
        # that restores channels-last strides. The transpose moves bytes, so it stands before the cast.
        pixels = image.permute(0, 3, 1, 2).contiguous().float()
        logits = self.network(pixels * self.scale + self.shift)
        return torch.softmax(logits, dim=1)


def _probabilities(network: nn.Module, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Probabilities by torch on the CPU; shape (N, classes)."""
    with torch.inference_mode():
        batches = [
            network(torch.from_numpy(np.array(images[start : start + _BATCH]))).numpy()
            for start in range(0, len(images), _BATCH)
        ]
    return np.concatenate(batches)


def _run(path: Path, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Probabilities by ONNX Runtime: the first image alone, the rest in batches, which tries the free N."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    starts = [0, *range(1, len(images), _BATCH)]
    stops = [*starts[1:], len(images)]
    batches = [
        session.run([OUTPUT_NAME], {INPUT_NAME: np.ascontiguousarray(images[start:stop])})[0]
        for start, stop in zip(starts, stops, strict=True)
    ]
    return np.concatenate(batches)


def _max_abs_diff(first: npt.NDArray[np.float32], second: npt.NDArray[np.float32]) -> float:
    return float(np.abs(first - second).max())


def _graph(deployed: nn.Module, size: int) -> onnx.ModelProto:
    """The ONNX graph of `deployed` for any number of images."""
    # Two images: torch takes a batch of one as a fixed size.
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    try:
        with _quiet():
            program = torch.onnx.export(
                deployed,
                (example,),
                dynamo=True,
                input_names=[INPUT_NAME],
                output_names=[OUTPUT_NAME],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                opset_version=OPSET,
                external_data=False,
                verbose=False,
            )
    except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
        raise ExportError(f"torch cannot export this network to ONNX: {_cause(error)}") from error
    assert program is not None  # noqa: S101  (dynamo=True always gives a program)
    graph = program.model_proto
    assert isinstance(graph, onnx.ModelProto)  # noqa: S101
    return graph


def _describe(model: onnx.ModelProto, info: ArtifactInfo) -> None:
    """Leave only what the runtime needs, and say what the model is.

    torch writes the exporting machine's paths and source lines beside every node; without them the file is
    smaller and its bytes depend on the weights alone.
    """
    del model.metadata_props[:], model.graph.metadata_props[:], model.graph.value_info[:]
    parts = (model.graph.node, model.graph.initializer, model.graph.input, model.graph.output)
    for part in (part for group in parts for part in group):
        del part.metadata_props[:]
        part.doc_string = ""
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = "wisp", __version__
    model.graph.name = "wisp"
    onnx.helper.set_model_props(model, info.to_metadata())


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notes about its own internals from the user; failures still raise."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _cause(error: BaseException) -> str:
    """The innermost cause in one line; torch wraps it into pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__

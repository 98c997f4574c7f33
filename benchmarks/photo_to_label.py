"""From a JPEG file to its label on one core: wisp's runtime against plain Pillow and eager torch, same weights.

    python -m benchmarks.photo_to_label [--run RUN | --model wisp-2m] [--data DIR] [--out FILE]

Without a run, an untrained network is exported: the time does not depend on the weights' values. Photos that are
made here are 512 x 384; the bar in milliseconds is about that size.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from benchmarks.outcome import Bar, arguments, finish, stay_on_one_core
from benchmarks.photographs import photographs
from wisp.data.augment import MEAN, STD
from wisp.export.onnx import export_onnx
from wisp.images import preprocess
from wisp.macs import count_macs
from wisp.models import build, named
from wisp.records import ResizeRule
from wisp.runtime import Classifier
from wisp.train.run import read_run

CLASSES = 6
ROUNDS = 10
REQUIRED_MS, REQUIRED_RATIO = 1.5, 3.0


def plain_pipeline(model: nn.Module, labels: tuple[str, ...], size: int) -> Callable[[Path], str]:
    """The peer: open, convert, resize, normalise, forward, as one writes it without thinking."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))

    def classify(path: Path) -> str:
        image = Image.open(path).convert("RGB").resize((size, size))
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
        with torch.inference_mode():
            probabilities = model(((pixels - mean) / std)[None]).softmax(dim=1)
        return labels[int(probabilities.argmax())]

    return classify


def untrained(name: str, size: int, photos: list[Path], path: Path) -> nn.Module:
    """Build and export the network called `name`; return it."""
    torch.manual_seed(0)
    model = build(named(name, CLASSES)).eval()
    rule = ResizeRule(size)
    export_onnx(
        model,
        labels=[f"class {index}" for index in range(CLASSES)],
        resize=rule,
        macs_as_trained=count_macs(model, size).total,
        provenance={},
        check_images=np.stack([preprocess(photo, rule) for photo in photos[:8]]),
        path=path,
    )
    return model


def main() -> None:
    """Run the comparison."""
    parser = arguments("From a JPEG file to its label, against plain Pillow and eager torch.")
    parser.add_argument("--run", type=Path, help="a trained and exported run (default: an untrained network)")
    parser.add_argument("--model", default="wisp-2m", help="the untrained network")
    parser.add_argument("--size", type=int, default=64, help="the untrained network's input, pixels")
    parser.add_argument("--photos", type=int, default=100, help="photos to classify, ten times each")
    options = parser.parse_args()
    stay_on_one_core()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        photos = photographs(options.data, Path(folder) / "photos", options.photos)
        if options.run:
            run = read_run(options.run)
            model, artifact = run.load_model(), run.artifact
        else:
            artifact = Path(folder) / "model.onnx"
            model = untrained(options.model, options.size, photos, artifact)
        classifier = Classifier(artifact)
        sides: dict[str, Callable[[Path], object]] = {
            "wisp": classifier.classify,
            "plain": plain_pipeline(model, classifier.labels, classifier.info.resize.size),
        }
        times_ms: dict[str, list[float]] = {name: [] for name in sides}
        for turn in range(ROUNDS + 1):  # in turns, so that a busy moment hits both; the first round warms up
            for name, classify in sides.items():
                for photo in photos:
                    begin = time.perf_counter()
                    classify(photo)
                    if turn:
                        times_ms[name].append((time.perf_counter() - begin) * 1e3)
    wisp_ms, plain_ms = (float(np.median(times_ms[name])) for name in ("wisp", "plain"))
    numbers = {
        "model": str(options.run or options.model),
        "size": classifier.info.resize.size,
        "macs": classifier.info.macs,
        "photos": len(photos),
        "calls": len(times_ms["wisp"]),
        "wisp_p50_ms": wisp_ms,
        "wisp_p99_ms": float(np.percentile(times_ms["wisp"], 99)),
        "plain_p50_ms": plain_ms,
        "plain_p99_ms": float(np.percentile(times_ms["plain"], 99)),
    }
    bars = [
        Bar("median from file to label, ms", wisp_ms, REQUIRED_MS, at_most=True),
        Bar("times as fast as plain Pillow and eager torch", plain_ms / wisp_ms, REQUIRED_RATIO),
    ]
    finish("photo_to_label", numbers, bars, options.out)


if __name__ == "__main__":
    main()

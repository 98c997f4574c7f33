"""A sound submission without any training: the colour model of `tiny_onnx`, and photos that it knows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx
from PIL import Image
from safetensors.numpy import save

from tiny_onnx import INFO, LABELS, colour_graph
from wisp import strict_json
from wisp.artifact import seal
from wisp.data.fingerprint import content_fingerprint
from wisp.data.folders import load_dataset
from wisp.records import Dataset
from wisp.submission import Environment, Facts, Macs, write_submission

COLOURS = {"Red": (220, 20, 30), "Green": (10, 200, 40), "Blue": (20, 30, 230)}
# The graph's own: 768 scaled pixels that are averaged, and 3 x 3 weights. The counter's: 768 pooled, 9 and a bias of 3.
MACS = Macs(official=800, deployed=780, exact=780, onnx=777)
SOURCE = "import torch\n\n\ndef build(num_classes):\n    return torch.nn.Linear(3, num_classes)\n"
FACTS = Facts(
    classes=LABELS,
    image_size=16,
    params=9,
    macs=MACS,
    seed=3,
    f1={"test": 1.0},
    environment=Environment(
        wisp="0.1", python="3.11", torch="2.13", onnxruntime="1.32", platform="Linux x86_64", cpu="some"
    ),
)


def paint_test_photos(root: Path, *, per_class: int = 2) -> Dataset:
    """Two plain photos of each colour in train and in test, and three without a label."""
    for number in range(per_class):
        for label, colour in COLOURS.items():
            for split in ("train", "test"):
                path = root / split / label / f"{split}-{label}-{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (20 + number, 18), colour).save(path)
    for label, colour in COLOURS.items():
        path = root / "test" / "NoLabel" / f"new-{label}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (18, 20), colour).save(path)
    return load_dataset(root, needs=(), progress=False)


@dataclass
class Parts:
    """A submission in pieces that a test may damage before it writes them."""

    files: dict[str, bytes]
    facts: Facts = FACTS
    dataset: Dataset | None = field(default=None)

    def write(self, path: Path) -> Path:
        """Write it, digests and all."""
        write_submission(path, self.files, self.facts)
        return path

    def with_file(self, name: str, content: bytes | str) -> Parts:
        """A copy with another content of one member."""
        data = content.encode() if isinstance(content, str) else content
        return replace(self, files={**self.files, name: data})

    def with_json(self, name: str, value: object) -> Parts:
        return self.with_file(name, json.dumps(value, ensure_ascii=False))

    def json(self, name: str) -> dict[str, object]:
        value: dict[str, object] = json.loads(self.files[name])
        return value

    def without(self, name: str) -> Parts:
        return replace(self, files={key: value for key, value in self.files.items() if key != name})


def colour_model(graph: onnx.ModelProto | None = None, **changes: object) -> bytes:
    """The model's bytes, sealed; `changes` are those of its metadata."""
    model = colour_graph(16) if graph is None else graph
    info = replace(INFO, macs=MACS.deployed, macs_as_trained=MACS.official, **changes)  # type: ignore[arg-type]
    onnx.helper.set_model_props(model, info.to_metadata())
    return seal(model.SerializeToString(deterministic=True))


def tiny_submission(dataset: Dataset) -> Parts:
    """A sound submission for photos that `paint_test_photos` painted."""
    fingerprint = content_fingerprint(dataset, progress=False)
    tests = [*fingerprint["splits"]["test"], *fingerprint["splits"]["unlabelled"]]
    answers = {
        name.rpartition("/")[2]: next(label for label in COLOURS if label in name.rpartition("/")[2])
        for name in tests
    }
    # The data set's classes in its own order, the model's in the model's: they are the same names.
    exact = {"classes": list(LABELS), "splits": fingerprint["splits"]}
    digest = hashlib.sha256(json.dumps(exact, sort_keys=True).encode()).hexdigest()
    weights: Mapping[str, np.ndarray] = {
        "weight": np.eye(3, dtype=np.float32),
        "bias": np.zeros(3, np.float32),
    }
    files = {
        "predictions.json": strict_json.dumps({"macs": MACS.deployed, "submission": answers}),
        "model.onnx": colour_model(),
        "weights.safetensors": save(dict(weights)),
        "model.py": SOURCE.encode(),
        "recipe.toml": b"image_size = 16\nseed = 3\n",
        "data.json": strict_json.dumps({**exact, "digest": digest}),
    }
    return Parts(files, dataset=dataset)

"""`ArchSpec` as a file, and what is said of a bad one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from wisp.errors import ModelError
from wisp.models import ArchSpec, build, named
from wisp.models.zoo.wisp import NAMED, Stage, WispOptions


def _wisp(**changes: Any) -> dict[str, Any]:
    return {"num_classes": 9, "options": {"family": "wisp", "stages": [{"width": 8}], **changes}}


def test_saves_and_loads(tmp_path: Path) -> None:
    spec = named("wisp-2m", 6)
    spec.save(tmp_path / "run" / "arch.json")
    assert ArchSpec.load(tmp_path / "run" / "arch.json") == spec
    assert spec.family == "wisp"


def test_defaults_may_be_left_out() -> None:
    spec = ArchSpec.from_json(_wisp())
    assert spec == ArchSpec(num_classes=9, options=WispOptions(stages=(Stage(width=8),)))
    assert ArchSpec.from_json({"num_classes": 2, "options": {"family": "resnet8"}}) == named("resnet8", 2)


def test_is_frozen_and_comparable() -> None:
    spec = named("wisp-2m", 6)
    with pytest.raises(ValidationError, match="frozen"):
        spec.num_classes = 7  # type: ignore[misc]
    assert spec.with_classes(7).num_classes == 7
    assert spec.with_classes(6) == spec
    assert spec != spec.with_classes(7)
    assert build(spec.with_classes(7)).classifier.out_features == 7
    with pytest.raises(ModelError, match="num_classes"):
        spec.with_classes(1)


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ({"num_classes": 9}, "options: missing"),
        ({"options": {"family": "resnet8"}}, "num_classes: missing"),
        (
            {"num_classes": 9, "options": {"family": "vgg"}},
            "options.family: unknown family 'vgg'; known: 'wisp'",
        ),
        ({"num_classes": 9, "options": {}}, "options.family: missing"),
        ({"num_classes": 9, "options": 3}, "options"),
        (
            {"num_classes": "9", "options": {"family": "resnet8"}},
            "num_classes: input should be a valid integer (got '9')",
        ),
        ({"num_classes": True, "options": {"family": "resnet8"}}, "num_classes"),
        ({"num_classes": 1, "options": {"family": "resnet8"}}, "num_classes"),
        ({"num_classes": 9, "options": {"family": "resnet8"}, "depth": 8}, "depth: unknown field"),
        (_wisp(colour="red"), "options.colour: unknown field (got 'red')"),
        (_wisp(stages=[]), "options.stages"),
        (_wisp(stages=[{"width": 8}, {"width": -3}]), "options.stages[1].width"),
        (_wisp(stages=[{"width": 8, "kernel": 4}]), "options.stages[0].kernel: must be odd (got 4)"),
        (_wisp(stages=[{"width": 8, "stride": 0}]), "options.stages[0].stride"),
        (_wisp(stages=[{"width": 8, "expansion": 0.01}]), "leaves no channel of its 8 inputs"),
        (_wisp(stages=[{"width": 8, "expansion": float("nan")}]), "options.stages[0].expansion"),
        (_wisp(stem={"kernel": 0}), "options.stem.kernel"),
        (_wisp(head=-1), "options.head"),
        (_wisp(dropout=1.0), "options.dropout"),
        (_wisp(activation="swish"), "options.activation"),
        ({"num_classes": 9, "options": {"family": "mobilenet_v2", "width": 0}}, "options.width"),
        ({"num_classes": 9, "options": {"family": "mobilenet_v2", "width": float("inf")}}, "options.width"),
        ({"num_classes": 9, "options": {"family": "squeezenet", "version": "1.2"}}, "options.version"),
        ({"num_classes": 9, "options": {"family": "shufflenet_v2", "stages": [4, 8]}}, "options.stages"),
        (
            {"num_classes": 9, "options": {"family": "shufflenet_v2", "stages": [4, 8, 9]}},
            "must be even numbers",
        ),
        ([], "dictionary"),
        (None, "dictionary"),
    ],
)
def test_names_the_file_and_the_field(value: Any, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "arch.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    with pytest.raises(ModelError) as caught:
        ArchSpec.load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert complaint in message
    assert "\n" not in message


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000])
def test_says_what_is_not_json(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "arch.json"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="not JSON"):
        ArchSpec.load(path)
    with pytest.raises(ModelError, match="cannot be read"):
        ArchSpec.load(tmp_path / "missing.json")


def test_costs_need_no_weights() -> None:
    spec = named("wisp-2m", 9)
    assert spec.macs(64) == NAMED["wisp-2m"].macs(9, 64)
    with pytest.raises(ModelError, match="too small"):
        spec.macs(0)

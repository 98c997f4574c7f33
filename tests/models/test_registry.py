"""Networks by name, by file and by run folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from wisp.errors import ModelError
from wisp.models import named, resolve
from wisp.models.zoo.mobilenetv2 import MobileNetV2Options
from wisp.models.zoo.shufflenetv2 import ShuffleNetV2Options
from wisp.models.zoo.squeezenet import SqueezeNetOptions


def test_a_width_is_free() -> None:
    assert named("mobilenet_v2-0.35", 9).options == MobileNetV2Options(width=0.35)
    assert named("mobilenet_v2-.35", 9) == named("mobilenet_v2-x0.35", 9)
    assert named("mobilenet_v2", 9) == named("mobilenet_v2-1", 9)
    assert named("shufflenet_v2-x0.5", 9).options == ShuffleNetV2Options.of_width(0.5)
    assert named("squeezenet1_0", 9).options == SqueezeNetOptions(version="1.0")
    assert named("resnet8-0.01", 9).macs(32) < named("resnet8", 9).macs(32)
    assert named("wisp-2m-0.5", 9).macs(64) < named("wisp-2m", 9).macs(64)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("mobilnet_v2-0.35", "did you mean mobilenet_v2-0.35"),
        ("wisp2m", "did you mean wisp-2m"),
        ("resnet18", "did you mean resnet8"),
        ("", "known: wisp-4m, wisp-2m"),
        ("qqqqqq", "known: wisp-4m, wisp-2m"),
        ("ghostnet-", "the width ''"),
        ("ghostnet-0", "from 0.01 to 10"),
        ("ghostnet-11", "from 0.01 to 10"),
        ("ghostnet-nan", "the width 'nan'"),
        ("ghostnet-1e2", "the width '1e2'"),
        ("ghostnet-\N{ARABIC-INDIC DIGIT ONE}", "the width"),
        ("wisp-2m-wide", "the width 'wide' must be a number"),
    ],
)
def test_says_what_is_wrong_with_a_name(name: str, complaint: str) -> None:
    with pytest.raises(ModelError) as caught:
        named(name, 9)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_needs_two_classes() -> None:
    with pytest.raises(ModelError, match="'resnet8': num_classes"):
        named("resnet8", 1)


def test_resolves_names_files_and_run_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = named("wisp-500k", 4)
    spec.save(tmp_path / "run" / "arch.json")
    monkeypatch.chdir(tmp_path)
    assert resolve("run") == resolve("run/arch.json") == resolve(tmp_path / "run") == spec
    assert resolve("run", 7) == spec.with_classes(7)
    assert resolve("wisp-500k") == named("wisp-500k", 9)
    assert resolve("wisp-500k", 3) == named("wisp-500k", 3)
    (tmp_path / "resnet8").mkdir()
    assert resolve("resnet8") == named("resnet8", 9)  # the name wins
    with pytest.raises(ModelError, match=r"holds no arch\.json"):
        resolve("./resnet8/")
    (tmp_path / "notes.txt").write_text("not json", encoding="utf-8")
    with pytest.raises(ModelError, match="not JSON"):
        resolve("notes.txt")
    with pytest.raises(ModelError, match="cannot be read"):
        resolve("missing.json")
    with pytest.raises(ModelError, match="give its run folder"):
        resolve("run/model.onnx")
    with pytest.raises(ModelError, match="no such file"):
        resolve("no/such/folder")

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wisp.artifact import FORMAT_VERSION, SEAL_KEY, ArtifactInfo, check_seal, seal
from wisp.errors import ModelError
from wisp.records import GEOMETRIES, ResizeRule

INFO = ArtifactInfo(
    labels=("glass", "Müll", "紙"),
    resize=ResizeRule(48, "pad"),
    macs=1_234_567,
    params=64_616,
    macs_as_trained=1_300_000,
    provenance={"wisp": "1.0", "recipe": {"seed": 3}, "epoch": None},
)

infos = st.builds(
    ArtifactInfo,
    labels=st.lists(st.text(), min_size=1, max_size=5).map(tuple),
    resize=st.builds(ResizeRule, st.integers(1, 1024), st.sampled_from(GEOMETRIES)),
    macs=st.integers(0, 10**12),
    params=st.integers(0, 10**9),
    macs_as_trained=st.integers(0, 10**12),
    provenance=st.dictionaries(st.text(), st.integers() | st.text() | st.none(), max_size=3),
)


@given(infos)
def test_round_trip(info: ArtifactInfo) -> None:
    assert ArtifactInfo.from_metadata(info.to_metadata(), where="model.onnx") == info


def test_metadata_are_strings_under_the_names_prefix() -> None:
    metadata = INFO.to_metadata()
    assert all(key.startswith("wisp.") and isinstance(value, str) for key, value in metadata.items())
    assert json.loads(metadata["wisp.labels"]) == ["glass", "Müll", "紙"]
    assert "Müll" in metadata["wisp.labels"]  # readable in any viewer of ONNX files
    assert json.loads(metadata["wisp.format"]) == FORMAT_VERSION


def test_the_same_info_gives_the_same_bytes() -> None:
    reordered = ArtifactInfo(**{**vars(INFO), "provenance": dict(reversed(list(INFO.provenance.items())))})
    assert reordered.to_metadata() == INFO.to_metadata()


def test_metadata_of_others_are_left_alone() -> None:
    metadata = {**INFO.to_metadata(), "producer": "somebody"}
    assert ArtifactInfo.from_metadata(metadata, where="model.onnx") == INFO


def test_another_programs_model() -> None:
    with pytest.raises(ModelError, match=r"yolo\.onnx: not a wisp model .*wisp export RUN"):
        ArtifactInfo.from_metadata({"producer": "somebody"}, where="yolo.onnx")


@pytest.mark.parametrize("key", sorted(set(INFO.to_metadata()) - {"wisp.format"}))
@pytest.mark.parametrize("value", [None, "{", "null"])
def test_damaged_metadata(key: str, value: str | None) -> None:
    metadata = INFO.to_metadata()
    del metadata[key]
    if value is not None:
        metadata[key] = value
    with pytest.raises(ModelError, match=r"model\.onnx: damaged wisp metadata .*export the run again"):
        ArtifactInfo.from_metadata(metadata, where="model.onnx")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("wisp.resize", {"size": 0, "geometry": "stretch"}),
        ("wisp.resize", {"size": 32, "geometry": "bend"}),
        ("wisp.resize", {"size": 32}),
        ("wisp.resize", [32]),
        ("wisp.labels", []),
        ("wisp.labels", 5),
        ("wisp.macs", "many"),
        ("wisp.macs", math.inf),
        ("wisp.format", "one"),
    ],
)
def test_values_that_make_no_sense(key: str, value: object) -> None:
    metadata = {**INFO.to_metadata(), key: json.dumps(value)}
    with pytest.raises(ModelError, match=r"model\.onnx: damaged wisp metadata"):
        ArtifactInfo.from_metadata(metadata, where="model.onnx")


def test_a_newer_format() -> None:
    metadata = {"wisp.format": str(FORMAT_VERSION + 1)}  # whatever else it may hold by then
    with pytest.raises(ModelError, match=r"written by a newer wisp \(format 2\); upgrade wisp"):
        ArtifactInfo.from_metadata(metadata, where="model.onnx")


@given(st.binary(max_size=300), st.data())
def test_a_seal_notices_every_flipped_bit(model: bytes, data: st.DataObject) -> None:
    sealed = seal(model)
    assert sealed.startswith(model)
    assert check_seal(sealed, where="model.onnx")
    bit = data.draw(st.integers(0, 8 * len(sealed) - 1))
    flipped = bytearray(sealed)
    flipped[bit // 8] ^= 1 << bit % 8
    if bit // 8 < len(model) or bit // 8 >= len(sealed) - 64:  # what is sealed, and the digest itself
        with pytest.raises(
            ModelError, match=r"model\.onnx: damaged \(its bytes are not those that were exported\)"
        ):
            check_seal(bytes(flipped), where="model.onnx")
    else:  # the words between: the model is whole, and the seal is no seal any more
        assert not check_seal(bytes(flipped), where="model.onnx")


def test_files_without_a_seal() -> None:
    for content in (b"", b"model", bytes(1000), SEAL_KEY.encode()):
        assert not check_seal(content, where="model.onnx")

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper
from PIL import Image

from tiny_onnx import INFO, LABELS, colour_graph, write_colour_model
from wisp.artifact import seal
from wisp.errors import DataError, ModelError
from wisp.images import preprocess
from wisp.records import ResizeRule
from wisp.runtime import Classifier, Prediction

COLOURS = {"Red": (230, 20, 20), "Green": (10, 220, 30), "Blue": (20, 30, 240)}


def photo(folder: Path, label: str, name: str | None = None) -> Path:
    path = folder / (name or f"{label}.jpg")
    Image.new("RGB", (64, 48), COLOURS[label]).save(path)
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_colour_model(tmp_path / "model.onnx")


def test_a_photo_becomes_its_label(model: Path, tmp_path: Path) -> None:
    classifier = Classifier(model)
    assert classifier.labels == LABELS
    assert classifier.info == INFO
    for label in LABELS:
        path = photo(tmp_path, label)
        for source in (path, str(path), path.read_bytes(), BytesIO(path.read_bytes()), Image.open(path)):
            prediction = classifier.classify(source)
            assert prediction.label == label
            assert prediction.probability == prediction.probabilities[label] > 0.9
            assert tuple(prediction.probabilities) == LABELS
            assert sum(prediction.probabilities.values()) == pytest.approx(1)
    assert classifier.classify(np.full((5, 7, 3), COLOURS["Green"], np.uint8)).label == "Green"


def test_a_run_folder_stands_for_its_model(model: Path) -> None:
    assert Classifier(model.parent).path == model
    assert Classifier(str(model.parent)).path == model


def test_the_most_probable_classes_in_order() -> None:
    prediction = Prediction("b", 0.6, {"a": 0.1, "b": 0.6, "c": 0.3})
    assert prediction.top(2) == (("b", 0.6), ("c", 0.3))
    assert len(prediction.top(9)) == 3


def test_probabilities_of_a_batch_equal_those_one_by_one(model: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (150, 16, 16, 3), np.uint8)
    classifier = Classifier(model, threads=2)
    batch = classifier.probabilities(images)
    assert batch.shape == (150, 3)
    assert batch.dtype == np.float32
    one_by_one = np.concatenate([classifier.probabilities(image[None]) for image in images])
    np.testing.assert_allclose(batch, one_by_one, atol=1e-6)
    assert classifier.probabilities(images[:0]).shape == (0, 3)


def test_classify_and_the_training_path_see_the_same_pixels(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    path = tmp_path / "photo.jpg"
    Image.fromarray(rng.integers(0, 256, (300, 400, 3), np.uint8)).save(path)
    for rule in (ResizeRule(16), ResizeRule(24, "pad"), ResizeRule(32, "crop")):
        classifier = Classifier(write_colour_model(tmp_path / "m.onnx", replace(INFO, resize=rule)))
        expected = classifier.probabilities(preprocess(path, rule)[None])[0]
        assert list(classifier.classify(path).probabilities.values()) == expected.tolist()


@pytest.mark.parametrize("batch", [1, 2, 32])
def test_many_photos_keep_their_order_and_bad_ones_their_place(
    batch: int, model: Path, tmp_path: Path
) -> None:
    sources = [
        photo(tmp_path, "Red"),
        tmp_path / "missing.jpg",
        photo(tmp_path, "Blue"),
        b"",
        photo(tmp_path, "Green"),
    ]
    results = list(Classifier(model).classify_many(iter(sources), batch=batch, workers=2))
    assert [result.label if isinstance(result, Prediction) else None for result in results] == [
        "Red",
        None,
        "Blue",
        None,
        "Green",
    ]
    assert isinstance(results[1], DataError)
    assert "missing.jpg" in str(results[1])
    assert list(Classifier(model).classify_many([])) == []


def test_many_photos_in_no_batch_is_a_mistake(model: Path) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        next(Classifier(model).classify_many([], batch=0))


def test_threads_may_share_a_classifier(model: Path, tmp_path: Path) -> None:
    classifier = Classifier(model)
    paths = {label: photo(tmp_path, label) for label in LABELS}
    wrong: list[str] = []

    def work(label: str) -> None:
        wrong.extend(label for _ in range(20) if classifier.classify(paths[label]).label != label)

    threads = [threading.Thread(target=work, args=(label,)) for label in LABELS * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_it_says_what_it_is(model: Path) -> None:
    assert repr(Classifier(model)) == f"Classifier({str(model)!r}: 3 classes, 16 px, 12,345 MACs)"


# --- a fresh process ----------------------------------------------------------------------------------------------


def test_neither_importing_nor_classifying_loads_torch(model: Path, tmp_path: Path) -> None:
    program = f"""
import sys
import wisp.runtime
assert "onnxruntime" not in sys.modules, "the import must stay fast"
assert wisp.runtime.Classifier({str(model)!r}).classify({str(photo(tmp_path, "Blue"))!r}).label == "Blue"
heavy = {{"torch", "torchvision", "onnx", "pydantic", "matplotlib", "tqdm", "filelock"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# --- models that cannot be used -----------------------------------------------------------------------------------


def test_missing_files_and_folders_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such model file"):
        Classifier(tmp_path / "model.onnx")
    with pytest.raises(ModelError, match=r"no model\.onnx in this folder; make one with: wisp export"):
        Classifier(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a protobuf", b"\xff\xd8\xff\xe0 a photo", bytes(500)])
def test_what_is_no_onnx_file(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="not an ONNX model that can be run") as caught:
        Classifier(path)
    assert "\n" not in str(caught.value)


def test_a_model_cut_short(model: Path) -> None:
    model.write_bytes(model.read_bytes()[:200])
    with pytest.raises(ModelError, match=r"model\.onnx"):
        Classifier(model)


def test_a_file_that_may_not_be_read(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ModelError, match="Permission denied"):
        Classifier(model)


def test_an_onnx_file_from_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not a wisp model"):
        Classifier(write_colour_model(tmp_path / "model.onnx", metadata={"made_by": "somebody"}))


@pytest.mark.parametrize(
    ("field", "value"), [("labels", "["), ("resize", '{"size": 16}'), ("macs", '"many"'), ("labels", "[]")]
)
def test_damaged_metadata(field: str, value: str, tmp_path: Path) -> None:
    metadata = {**INFO.to_metadata(), f"wisp.{field}": value}
    with pytest.raises(ModelError, match="damaged wisp metadata"):
        Classifier(write_colour_model(tmp_path / "model.onnx", metadata=metadata))


def test_metadata_that_are_no_text(model: Path) -> None:
    """ONNX Runtime takes them, and stumbles when they are asked for."""
    content = model.read_bytes()
    model.write_bytes(content.replace(b'["Red"', b'["R\xd7d"'))
    with pytest.raises(ModelError, match=r"damaged metadata \(not UTF-8\)"):
        Classifier(model)


@pytest.mark.parametrize(
    ("field", "value"), [("macs", "-1"), ("resize", '{"size": 100000, "geometry": "stretch"}')]
)
def test_metadata_out_of_all_bounds(field: str, value: str, tmp_path: Path) -> None:
    """An image of 100,000 pixels a side would take 30 GB before anything else is noticed."""
    metadata = {**INFO.to_metadata(), f"wisp.{field}": value}
    with pytest.raises(ModelError, match="damaged wisp metadata"):
        Classifier(write_colour_model(tmp_path / "model.onnx", metadata=metadata))


def test_a_loop_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from onnx import helper as make  # noqa: PLC0415

    graph = colour_graph(16)
    kinds = (("turn", TensorProto.INT64), ("go_on", TensorProto.BOOL), ("before", TensorProto.FLOAT))
    body = make.make_graph(
        [make.make_node("Identity", ["go_on"], ["still"]), make.make_node("Identity", ["before"], ["after"])],
        "body",
        [make.make_tensor_value_info(name, kind, []) for name, kind in kinds],
        [
            make.make_tensor_value_info("still", TensorProto.BOOL, []),
            make.make_tensor_value_info("after", TensorProto.FLOAT, []),
        ],
    )
    graph.graph.initializer.append(make.make_tensor("turns", TensorProto.INT64, [1], [2**62]))
    softmax = graph.graph.node.pop()
    graph.graph.node.extend(
        [
            make.make_node("Constant", [], ["zero"], value_float=0.0),
            make.make_node("Loop", ["turns", "", "zero"], ["carried"], body=body),
            make.make_node("Add", ["logits", "carried"], ["sum"]),
            make.make_node("Softmax", ["sum"], list(softmax.output), axis=1),
        ]
    )
    make.set_model_props(graph, INFO.to_metadata())
    path = tmp_path / "model.onnx"
    path.write_bytes(graph.SerializeToString())
    monkeypatch.setattr("wisp.runtime.classifier.FIRST_IMAGE_SECONDS", 0.2)
    with pytest.raises(ModelError, match="does not take one uint8 image") as caught:
        Classifier(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "message"),
    [(("a", "b"), "names 2 labels but gives an output of shape"), (("a", "b", "a"), "a label appears twice")],
)
def test_labels_that_do_not_fit_the_output(labels: tuple[str, ...], message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=message):
        Classifier(write_colour_model(tmp_path / "model.onnx", replace(INFO, labels=labels)))


@pytest.mark.parametrize(
    "graph",
    [
        colour_graph(size=8),
        colour_graph(input_name="pixels"),
        colour_graph(input_type=TensorProto.FLOAT),
    ],
)
def test_a_graph_that_contradicts_its_metadata(graph: object, tmp_path: Path) -> None:
    helper.set_model_props(graph, INFO.to_metadata())
    (tmp_path / "model.onnx").write_bytes(graph.SerializeToString())  # type: ignore[attr-defined]
    with pytest.raises(ModelError, match="does not take one uint8 image of 16 x 16 x 3") as caught:
        Classifier(tmp_path / "model.onnx")
    assert "\n" not in str(caught.value)


def test_threads_below_one(model: Path) -> None:
    with pytest.raises(ModelError, match="threads"):
        Classifier(model, threads=0)


@pytest.mark.parametrize(
    "images",
    [np.zeros((16, 16, 3), np.uint8), np.zeros((1, 8, 8, 3), np.uint8), np.zeros((1, 16, 16, 3), np.float32)],
)
def test_images_of_another_shape_or_type(images: np.ndarray, model: Path) -> None:
    with pytest.raises(DataError, match="N x 16 x 16 x 3"):
        Classifier(model).probabilities(images)


def test_an_unreadable_photo_is_named(model: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"missing\.jpg"):
        Classifier(model).classify(tmp_path / "missing.jpg")


# --- the seal -----------------------------------------------------------------------------------------------------


def test_a_flipped_byte_in_the_weights_is_noticed(tmp_path: Path) -> None:
    """A changed weight is a valid weight: without the seal nothing would tell."""
    plain = write_colour_model(tmp_path / "plain.onnx").read_bytes()
    weight = plain.index(np.float32(10).tobytes())
    damaged = bytearray(plain)
    damaged[weight + 2] ^= 0x40
    path = tmp_path / "model.onnx"
    path.write_bytes(damaged)
    assert Classifier(path).info == INFO  # an old file, without a seal
    sealed = bytearray(seal(plain))
    sealed[weight + 2] ^= 0x40
    path.write_bytes(sealed)
    with pytest.raises(
        ModelError, match=r"model\.onnx: damaged \(its bytes are not those that were exported\); copy"
    ):
        Classifier(path)


def test_a_sealed_file_that_another_tool_changed(tmp_path: Path) -> None:
    import onnx  # noqa: PLC0415

    path = tmp_path / "model.onnx"
    path.write_bytes(seal(write_colour_model(tmp_path / "plain.onnx").read_bytes()))
    assert Classifier(path).info == INFO
    onnx.save(onnx.load(path), path)
    assert Classifier(path).info == INFO  # written again, byte for byte
    changed = onnx.load(path)
    changed.metadata_props.insert(0, changed.metadata_props.pop())
    onnx.save(changed, path)
    with pytest.raises(ModelError, match="changed by another tool since it was exported"):
        Classifier(path)

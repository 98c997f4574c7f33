"""model.onnx of a submission: a plain graph that costs what it claims, in a process that it may bring down."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tiny_onnx import INFO, LABELS, colour_graph
from tiny_submission import FACTS, MACS, Parts, colour_model
from wisp.artifact import seal
from wisp.errors import SubmissionError
from wisp.records import ResizeRule, Violation
from wisp.submission import graph, graph_process
from wisp.submission.graph import check_graph, classify_images, describe_model
from wisp.submission.manifest import Facts, Manifest


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    path.write_bytes(colour_model())
    return path


def manifest(facts: Facts = FACTS) -> Manifest:
    return Manifest(**facts.model_dump(), members={})


def findings(path: Path, facts: Facts = FACTS) -> list[Violation]:
    return list(check_graph(path, manifest(facts)))


def changed(path: Path, change: Callable[[onnx.ModelProto], object]) -> Path:
    """The model, changed and sealed again: as somebody would do it on purpose."""
    proto = onnx.load_model_from_string(colour_model())
    del proto.metadata_props[-1]
    change(proto)
    path.write_bytes(seal(proto.SerializeToString()))
    return path


def problems(change: Callable[[onnx.ModelProto], object]) -> list[str]:
    """What the process would say, without starting it."""
    proto = colour_graph(16)
    change(proto)
    return list(graph_process.find_problems(proto))


# --- the process --------------------------------------------------------------------------------------------------


def test_a_plain_model(model: Path) -> None:
    info = describe_model(model)
    assert info.labels == LABELS
    assert info.resize == ResizeRule(16)
    assert findings(model) == []


def test_its_answers_are_the_classifiers_own(model: Path, tmp_path: Path) -> None:
    from wisp.runtime import Classifier  # noqa: PLC0415

    images = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), np.uint8)
    expected = Classifier(model).probabilities(images)
    np.testing.assert_array_equal(classify_images(model, images, 3), expected)
    images.tofile(tmp_path / "pixels.u8")
    mapped = np.memmap(tmp_path / "pixels.u8", np.uint8, "r", shape=images.shape)
    np.testing.assert_array_equal(classify_images(model, mapped, 3), expected)
    with pytest.raises(SubmissionError, match="4 probabilities"):
        classify_images(model, images, 4)


def test_what_brings_the_process_down_does_not_bring_us_down(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    monkeypatch.setattr(graph, "_PROGRAM", program)
    with pytest.raises(
        SubmissionError, match=r"cannot be read or run within its bounds \(signal 11; at most 4 GiB"
    ):
        describe_model(model)
    monkeypatch.setattr(graph, "_PROGRAM", "print('no JSON')")
    with pytest.raises(SubmissionError, match="cannot be described"):
        describe_model(model)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not bound the memory of a process")
def test_its_memory_and_files_are_bounded(tmp_path: Path) -> None:
    program = f"""
from wisp.submission.graph_process import _limit
_limit(1 << 30, 60)
try:
    bytes(2 << 30)
except MemoryError:
    print("bounded memory")
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    open({str(tmp_path / "out")!r}, "w").write("x" * 10000)
except OSError:
    print("no files")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["bounded memory", "no files"], done.stderr
    assert (tmp_path / "out").stat().st_size == 0


def test_time_is_bounded(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "_PROGRAM", "while True: pass")
    monkeypatch.setattr(graph, "_WALL", 0.01)
    with pytest.raises(SubmissionError, match="it took too long"):
        describe_model(model)


def test_in_this_process(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """The same program, where its lines can be seen to run."""
    monkeypatch.setattr(graph_process, "_limit", lambda _memory, _seconds: None)
    images = np.zeros((2, 16, 16, 3), np.uint8)
    images.tofile(tmp_path / "pixels.u8")
    assert graph_process.main([str(model), "1", "1", str(tmp_path / "pixels.u8"), "2", "16"]) == 0
    head, _, answers = capfdbinary.readouterr().out.partition(b"\n")
    assert json.loads(head)["problems"] == []
    assert np.frombuffer(answers, np.float32).reshape(2, 3) == pytest.approx(np.full((2, 3), 1 / 3))
    (tmp_path / "bad.onnx").write_bytes(b"\xff\xff")
    assert graph_process.main([str(tmp_path / "bad.onnx"), "1", "1"]) == 0
    assert json.loads(capfdbinary.readouterr().out)["problems"]


# --- more than a plain graph --------------------------------------------------------------------------------------


def custom_operator(proto: onnx.ModelProto) -> None:
    proto.graph.node[-1].domain = "com.evil"


def microsoft_operator(proto: onnx.ModelProto) -> None:
    proto.graph.node.append(helper.make_node("Gelu", ["logits"], ["g"], domain="com.microsoft"))


def unknown_operator(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].op_type = "LoadLibrary"


def function_of_its_own(proto: onnx.ModelProto) -> None:
    body = [helper.make_node("Relu", ["x"], ["y"])]
    proto.functions.append(helper.make_function("own", "F", ["x"], ["y"], body, proto.opset_import))


def external_weights(proto: onnx.ModelProto) -> None:
    tensor = proto.graph.initializer[1]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"


def external_weights_inside(proto: onnx.ModelProto) -> None:
    """In a constant of a branch of an If, where a reader of initializers alone does not look."""
    tensor = numpy_helper.from_array(np.ones(3, np.float32), "w")
    external = TensorProto()
    external.CopyFrom(tensor)
    entry = external.external_data.add()
    entry.key, entry.value = "location", "/dev/zero"
    inner = [helper.make_node("Constant", [], ["c"], value=external)]
    branch = helper.make_graph(inner, "b", [], [helper.make_tensor_value_info("c", TensorProto.FLOAT, [3])])
    proto.graph.node.append(helper.make_node("If", ["cond"], ["out"], then_branch=branch, else_branch=branch))


def random_numbers(proto: onnx.ModelProto) -> None:
    proto.graph.node.append(helper.make_node("RandomNormal", [], ["r"], shape=[3]))


def training(proto: onnx.ModelProto) -> None:
    proto.training_info.add()


def metadata_twice(proto: onnx.ModelProto) -> None:
    for value in ("1", "2"):
        entry = proto.metadata_props.add()
        entry.key, entry.value = "wisp.macs", value


def much_metadata(proto: onnx.ModelProto) -> None:
    entry = proto.metadata_props.add()
    entry.key, entry.value = "novel", "x" * (2 << 20)


def later_operators(proto: onnx.ModelProto) -> None:
    proto.opset_import[0].version = 999


def no_operators(proto: onnx.ModelProto) -> None:
    del proto.opset_import[:]


def deep_graphs(proto: onnx.ModelProto) -> None:
    graph_ = helper.make_graph([], "leaf", [], [])
    for _ in range(10):
        graph_ = helper.make_graph(
            [helper.make_node("If", ["c"], ["o"], then_branch=graph_, else_branch=graph_)], "g", [], []
        )
    proto.graph.node.extend(graph_.node)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (custom_operator, "'com.evil'::'Softmax' is none of ONNX's own"),
        (microsoft_operator, "'com.microsoft'::'Gelu' is none of ONNX's own"),
        (unknown_operator, "ONNX 18 has no operator called 'LoadLibrary'"),
        (function_of_its_own, "it defines functions of its own"),
        (external_weights, "'weight' lie in another file"),
        (external_weights_inside, "'w' lie in another file"),
        (random_numbers, "RandomNormal draws random numbers"),
        (training, "training information"),
        (metadata_twice, "metadata is given twice"),
        (much_metadata, "over 1,048,576 characters of metadata"),
        (later_operators, "version 999 of the standard operators"),
        (no_operators, "version 0 of the standard operators"),
        (deep_graphs, "nested more than 6 deep"),
    ],
)
def test_more_than_a_plain_graph(change: Callable[[onnx.ModelProto], object], message: str) -> None:
    assert any(message in problem for problem in problems(change))
    assert problems(lambda _: None) == []


def test_it_is_one_line(tmp_path: Path) -> None:
    (finding,) = findings(changed(tmp_path / "model.onnx", external_weights))
    assert (finding.rule, finding.path) == ("graph", "model.onnx")
    assert "lie in another file; a submission's model holds its own" in finding.message


def test_no_model_at_all(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\xff\xd8\xff\xe0 a photo")
    (finding,) = findings(path)
    assert finding.rule == "graph"
    assert "\n" not in finding.message


def test_a_model_from_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(colour_graph(16).SerializeToString())
    (finding,) = findings(path)
    assert "not a wisp model" in finding.message


def test_a_broken_seal_and_one_that_was_left_behind(model: Path, tmp_path: Path) -> None:
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    assert "damaged (its bytes are not those that were exported)" in findings(path)[0].message
    edited = onnx.load_model_from_string(model.read_bytes())
    edited.graph.initializer[1].raw_data = np.eye(3, dtype=np.float32).tobytes()
    seal_entry = edited.metadata_props[-1]
    del edited.metadata_props[-1]
    edited.metadata_props.insert(0, seal_entry)
    path.write_bytes(edited.SerializeToString())
    assert "changed by another tool since it was exported" in findings(path)[0].message


# --- what it costs ------------------------------------------------------------------------------------------------


def test_macs_that_are_not_those_of_the_graph(model: Path) -> None:
    lied = FACTS.model_copy(update={"macs": MACS.model_copy(update={"onnx": 7})})
    (finding,) = findings(model, lied)
    assert finding.message == "the manifest claims 7 MACs for its graph; counted are 777"
    incomplete = FACTS.model_copy(update={"macs": MACS.model_copy(update={"onnx_complete": False})})
    (finding,) = findings(model, incomplete)
    assert "claims 777 (incomplete) MACs for its graph; counted are 777" in finding.message


@pytest.mark.parametrize(
    ("update", "message"),
    [
        ({"classes": ("Blue", "Green", "Red")}, "its classes, or their order"),
        ({"image_size": 32}, "names 16 as its input size, the manifest 32"),
        ({"macs": MACS.model_copy(update={"deployed": 1})}, "names 780 as its deployed MACs, the manifest 1"),
        ({"macs": MACS.model_copy(update={"official": 1})}, "names 800 as its official MACs, the manifest 1"),
    ],
)
def test_what_the_model_says_of_itself(update: dict[str, object], message: str, model: Path) -> None:
    (finding,) = findings(model, FACTS.model_copy(update=update))
    assert message in finding.message


def test_a_count_that_cannot_be_true_of_the_graph(tmp_path: Path) -> None:
    """It claims less than its graph does. The counter passes over much, so this is a reason to look, and no proof."""

    def claim_less(proto: onnx.ModelProto) -> None:
        helper.set_model_props(proto, replace(INFO, macs=5, macs_as_trained=800).to_metadata())

    path = changed(tmp_path / "model.onnx", claim_less)
    facts = FACTS.model_copy(update={"macs": MACS.model_copy(update={"deployed": 5})})
    (finding,) = findings(path, facts)
    assert finding.severity == "warning"
    assert "it states 5 MACs, but its graph has 777 to 780 by the competition's counter" in finding.message


def test_a_graph_that_cannot_be_counted(model: Path, tmp_path: Path) -> None:
    def broken(proto: onnx.ModelProto) -> None:
        proto.graph.node[-2].input[1] = "nowhere"

    (finding,) = findings(changed(tmp_path / "model.onnx", broken))
    assert finding.rule == "graph"
    assert "not a valid ONNX model" in finding.message


def test_an_operator_attribute_with_control_characters(model: Path, tmp_path: Path) -> None:
    def coloured(proto: onnx.ModelProto) -> None:
        proto.graph.node[-1].attribute.add(name="\x1b[31m", type=onnx.AttributeProto.INT, i=1)

    (finding,) = findings(changed(tmp_path / "model.onnx", coloured))
    assert finding.rule == "graph"
    assert str(finding).isprintable()


def test_all_of_it_through_the_zip_file(parts: Parts, tmp_path: Path) -> None:
    from wisp.submission import verify_submission  # noqa: PLC0415

    path = parts.with_file("model.onnx", b"\xff").write(tmp_path / "team.zip")
    rules = [finding.rule for finding in verify_submission(path) if finding.severity == "violation"]
    assert rules == ["graph"]

"""What the members of a submission claim: each contradiction is found, and named in one line."""

from __future__ import annotations

import hashlib
import json
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from safetensors.numpy import save

from tiny_submission import FACTS, MACS, Parts
from wisp import strict_json
from wisp.errors import SubmissionError
from wisp.records import Dataset
from wisp.submission import (
    Facts,
    Manifest,
    extract_submission,
    open_submission,
    verify_submission,
    write_submission,
)
from wisp.submission.claims import Fingerprint, answer_names
from wisp.submission.contents import MEMBERS, largest_size


@pytest.fixture(autouse=True)
def _graph_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model has tests of its own (test_models.py); each check of it starts two processes."""
    monkeypatch.setattr("wisp.submission.graph.check_graph", lambda _path, _manifest: ())


def only(path: Path) -> list[str]:
    """The violations of a file, as printed."""
    return [str(finding) for finding in verify_submission(path) if finding.severity == "violation"]


def with_manifest(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest of a written submission, whatever the writer would say to it."""
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(contents["manifest.json"])
    changed = change(manifest)
    content = changed if isinstance(changed, bytes) else json.dumps(manifest).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**contents, "manifest.json": content}.items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)


# --- writing and reading ------------------------------------------------------------------------------------------


def test_a_sound_one(team: Path, parts: Parts) -> None:
    findings = verify_submission(team)
    assert [finding.severity for finding in findings] == ["note"]  # it is source code, which was not run
    submission = open_submission(team)
    assert submission.manifest.classes == ("Red", "Green", "Blue")
    assert submission.files == parts.files
    assert submission.predictions["new-Red.png"] == "Red"
    assert (
        submission.data["splits"].keys()
        == {"train", "test", "val", "unlabelled"} & submission.data["splits"].keys()
    )
    assert submission.arch is None
    assert submission.has_source
    assert submission.source == {"model.py": parts.files["model.py"].decode()}
    assert "seed = 3" in submission.recipe
    assert Manifest.from_json(submission.manifest.to_json()) == submission.manifest


def test_equal_contents_are_equal_bytes(parts: Parts, tmp_path: Path) -> None:
    first = parts.write(tmp_path / "a.zip").read_bytes()
    backwards = Parts(dict(reversed(parts.files.items())))
    assert backwards.write(tmp_path / "b.zip").read_bytes() == first
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert [info.filename for info in archive.infolist()] == [
            name for name in MEMBERS if name in {*parts.files, "manifest.json"}
        ]
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("weights.pt", b"", "no member called 'weights.pt'"),
        ("../model.py", b"", r"no member called '\.\./model\.py'"),
        ("manifest.json", b"{}", "no member called 'manifest.json'"),
        ("recipe.toml", bytes(70_000), "70,000 bytes; at most 65,536"),
    ],
)
def test_the_writer_refuses(name: str, content: bytes, message: str, parts: Parts, tmp_path: Path) -> None:
    with pytest.raises(SubmissionError, match=message):
        write_submission(tmp_path / "team.zip", {**parts.files, name: content}, FACTS)
    assert not (tmp_path / "team.zip").exists()


def test_extracting(team: Path, parts: Parts, tmp_path: Path) -> None:
    folder = tmp_path / "inside"
    extract_submission(team, folder)
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert found.keys() == {*parts.files, "manifest.json"}
    assert {name: found[name] for name in parts.files} == parts.files
    assert Manifest.parse(found["manifest.json"]) == open_submission(team).manifest
    with pytest.raises(SubmissionError, match="not an empty folder"):
        extract_submission(team, folder)
    with pytest.raises(SubmissionError, match="not an empty folder"):
        extract_submission(team, team)
    assert {path.name for path in tmp_path.iterdir()} == {"team.zip", "inside"}


def test_further_source_has_folders(parts: Parts, tmp_path: Path) -> None:
    path = parts.with_file("source/layers/gate.py", "x = 1\n").write(tmp_path / "team.zip")
    assert only(path) == []
    extract_submission(path, tmp_path / "inside")
    assert (tmp_path / "inside" / "source" / "layers" / "gate.py").read_text() == "x = 1\n"
    assert sorted(open_submission(path).source) == ["model.py", "source/layers/gate.py"]


def test_names_of_members() -> None:
    assert largest_size("source/a/b.py") == 1 << 20
    for name in (
        "source/a",
        "source/.py",
        "source/a/../b.py",
        "source/a.pyc",
        "src/a.py",
        "model.PY",
        "source/ä.py",
    ):
        assert largest_size(name) is None


# --- the manifest -------------------------------------------------------------------------------------------------


def test_another_content_than_the_digest_says(team: Path) -> None:
    def forge(manifest: dict[str, Any]) -> None:
        manifest["members"]["recipe.toml"]["sha256"] = "0" * 64
        manifest["members"]["data.json"]["size_bytes"] += 1
        del manifest["members"]["model.py"]
        manifest["members"]["source/gone.py"] = {"size_bytes": 0, "sha256": "0" * 64}

    with_manifest(team, forge)
    assert [line.partition(";")[0] for line in only(team)] == [
        "model.py: not in the manifest",
        "recipe.toml: its SHA-256 is not that of the manifest",
        next(line.partition(";")[0] for line in only(team) if line.startswith("data.json")),
        "source/gone.py: in the manifest, but not in the zip file",
    ]
    assert "bytes; the manifest says" in next(line for line in only(team) if line.startswith("data.json"))


@pytest.mark.parametrize(
    "name", ["predictions.json", "model.onnx", "weights.safetensors", "recipe.toml", "data.json"]
)
def test_a_member_is_missing(name: str, parts: Parts, tmp_path: Path) -> None:
    path = parts.without(name).write(tmp_path / "team.zip")
    assert only(path) == [f"{name}: missing; every submission has it; pack the run again with: wisp submit"]


def test_the_network_is_one_of_two(parts: Parts, tmp_path: Path) -> None:
    path = parts.without("model.py").write(tmp_path / "team.zip")
    assert "neither of arch.json and model.py" in only(path)[0]
    path = parts.with_file("arch.json", "{}").write(tmp_path / "team.zip")
    assert "both of arch.json and model.py" in only(path)[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(format=2), "written by a newer wisp (format 2)"),
        (lambda m: m.update(format="1"), "format"),
        (lambda m: m.pop("macs"), "macs: Field required"),
        (lambda m: m.update(comment="hello"), "comment: Extra inputs are not permitted"),
        (lambda m: m.update(seed=True), "seed: Input should be a valid integer"),
        (lambda m: m.update(seed=-1), "seed: Input should be greater than or equal to 0"),
        (lambda m: m.update(params=1.5), "params: Input should be a valid integer"),
        (lambda m: m["macs"].update(exact="7"), "macs.exact: Input should be a valid integer"),
        (lambda m: m["macs"].update(exact=10**16), "macs.exact: Input should be less than"),
        (lambda m: m.update(classes=["a"]), "classes: Tuple should have at least 2 items"),
        (lambda m: m.update(classes=["a", "a"]), "classes: a class appears twice"),
        (lambda m: m.update(classes="ab"), "classes: Input should be a valid tuple"),
        (lambda m: m.update(f1={"secret": 1.0}), "f1.secret"),
        (lambda m: m.update(f1={"test": 1.2}), "f1.test: Input should be less than or equal to 1"),
        (lambda m: m.update(f1={"test": "1"}), "f1.test: Input should be a valid number"),
        (lambda m: m["members"].update({"manifest.json": m["members"]["data.json"]}), "its own digest"),
        (lambda m: m["members"]["data.json"].update(sha256="Z" * 64), "sha256: String should match"),
        (lambda m: m["environment"].update(home="/home/me"), "environment.home: Extra inputs"),
        (lambda m: m["environment"].update(cpu=""), "environment.cpu: String should have at least 1"),
        (lambda m: b"[]", "Input should be a valid dictionary"),
        (lambda m: b"", "not JSON"),
        (lambda m: b"\xff\xfe{}", "not UTF-8"),
        (lambda m: b"[" * 100_000, "nested more than 32 deep"),
        (lambda m: b'{"seed": NaN}', "NaN is no number of JSON"),
        (lambda m: b'{"seed": 1, "seed": 2}', "the key 'seed' is given twice"),
        (lambda m: b'{"seed": ' + b"9" * 5000 + b"}", "a number of 5,000 digits"),
        (lambda m: b'{"classes": [' + b"[]," * 200_000 + b"[]]}", "more than 100,000 objects and lists"),
    ],
)
def test_a_manifest_that_is_none(
    change: Callable[[dict[str, Any]], object], message: str, team: Path
) -> None:
    with_manifest(team, change)
    (line,) = only(team)
    assert line.startswith("manifest.json: ")
    assert message in line
    assert "\n" not in line
    with pytest.raises(SubmissionError, match="manifest"):
        open_submission(team)


def test_no_manifest(team: Path) -> None:
    with zipfile.ZipFile(team, "w") as archive:
        archive.writestr(zipfile.ZipInfo("model.py", (1980, 1, 1, 0, 0, 0)), b"")
    assert only(team) == ["manifest.json: missing; pack the run again with: wisp submit"]


def test_facts_are_checked_when_they_are_made() -> None:
    with pytest.raises(ValidationError):
        Facts(**{**FACTS.model_dump(), "f1": {"test": float("nan")}})
    with pytest.raises(ValidationError):
        FACTS.seed = 4  # type: ignore[misc]


# --- predictions, data, recipe, source ----------------------------------------------------------------------------


def test_answers_that_name_no_class(parts: Parts, tmp_path: Path) -> None:
    value = parts.json("predictions.json")
    answers = dict.fromkeys(value["submission"], "Purple\x1b[2J")  # type: ignore[call-overload]
    path = parts.with_json("predictions.json", {**value, "submission": answers}).write(tmp_path / "team.zip")
    (line,) = only(path)
    assert "9 answers name a class that is none of the model's (first: " in line
    assert "the classes are Red, Green, Blue" in line
    assert "\x1b" not in line


def test_missing_and_extra_answers(parts: Parts, tmp_path: Path) -> None:
    value = parts.json("predictions.json")
    answers = dict(value["submission"])  # type: ignore[call-overload]
    del answers["new-Red.png"], answers["test-Blue-0.png"]
    answers |= {"stranger.png": "Red"}
    path = parts.with_json("predictions.json", {**value, "submission": answers}).write(tmp_path / "team.zip")
    assert [line.partition(";")[0] for line in only(path)] == [
        "predictions.json: no answer for 2 of the test photos in data.json: new-Red.png, test-Blue-0.png",
        "predictions.json: 1 answers for photos that are not among the test photos in data.json: stranger.png",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"macs": 780}', "must be"),
        ('{"macs": 780, "submission": {}, "more": 1}', "must be"),
        ('{"macs": 780.0, "submission": {}}', "macs must be a whole number"),
        ('{"macs": true, "submission": {}}', "macs must be a whole number"),
        ('{"macs": -1, "submission": {}}', "macs must be a whole number"),
        ('{"macs": 780, "submission": []}', "submission must map file names to classes"),
        ('{"macs": 780, "submission": {"a.png": 1}}', "the class of 'a.png' must be text"),
        ('{"macs": 780, "submission": {"a.png": ["Red"]}}', "the class of 'a.png' must be text"),
        ('{"macs": 780, "submission": {"": "Red"}}', "a file name of 0 characters"),
        ('{"macs": 780, "submission": {"a\\u0000": "Red"}}', "NUL"),
        ('{"macs": 780, "submission": {"a.png": "Red", "a.png": "Blue"}}', "given twice"),
        ('{"macs": 780, "submission": {"\\ud800.png": "Red"}}', "half of a surrogate pair"),
        ("nonsense", "not JSON"),
    ],
)
def test_predictions_in_another_form(content: str, message: str, parts: Parts, tmp_path: Path) -> None:
    path = parts.with_file("predictions.json", content).write(tmp_path / "team.zip")
    (line,) = only(path)
    assert line.startswith("predictions.json: ")
    assert message in line


def test_macs_in_the_predictions(parts: Parts, tmp_path: Path) -> None:
    value = {**parts.json("predictions.json"), "macs": 5}
    path = parts.with_json("predictions.json", value).write(tmp_path / "team.zip")
    assert only(path)[0].startswith("predictions.json: claims 5 MACs, the manifest 780 (deployed)")


def resealed(value: dict[str, Any]) -> dict[str, Any]:
    """A fingerprint with the digest that fits it."""
    exact = {"classes": value["classes"], "splits": value["splits"]}
    digest = hashlib.sha256(json.dumps(exact, sort_keys=True).encode()).hexdigest()
    return {**value, "digest": digest}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(root="/home/me/photos"), "only teachers and pretrained"),
        (lambda d: d.pop("digest"), "must have classes, splits and digest"),
        (lambda d: d.update(classes=["a", 1]), "classes must be a list of names"),
        (lambda d: d["splits"].update(secret={}), "splits may be train, val, test, unlabelled"),
        (lambda d: d["splits"].update(test=[]), "splits.test must map names to SHA-256 digests"),
        (lambda d: d["splits"]["test"].update({"/home/me/a.png": "0" * 64}), "not a path of some machine"),
        (lambda d: d["splits"]["test"].update({"C:\\a.png": "0" * 64}), "not a path of some machine"),
        (lambda d: d["splits"]["test"].update({"../a.png": "0" * 64}), "not a path of some machine"),
        (lambda d: d["splits"]["test"].update({"a.png": "0" * 63}), "has no SHA-256 digest"),
        (lambda d: d["splits"]["test"].update({"a.png": "0" * 64}), "its digest is not that of"),
        (lambda d: d.update(teachers=["x"]), "teachers must be a list of SHA-256 digests"),
        (lambda d: d.update(pretrained=7), "pretrained must be"),
    ],
)
def test_a_fingerprint_that_is_none(
    change: Callable[[dict[str, Any]], object], message: str, parts: Parts, tmp_path: Path
) -> None:
    value = parts.json("data.json")
    change(value)
    path = parts.with_json("data.json", value).write(tmp_path / "team.zip")
    (line,) = only(path)
    assert line.startswith("data.json: ")
    assert message in line


def test_a_fingerprint_of_other_classes(parts: Parts, tmp_path: Path) -> None:
    value = resealed({**parts.json("data.json"), "classes": ["Blue", "Green", "Red"]})
    path = parts.with_json("data.json", value).write(tmp_path / "team.zip")
    assert only(path)[0].startswith("data.json: its classes are not those of the manifest")


def test_weights_that_a_training_started_from(parts: Parts) -> None:
    value = {**parts.json("data.json"), "teachers": ["a" * 64], "pretrained": "download"}
    assert Fingerprint.parse(json.dumps(value).encode()).weights == {
        "teachers": ["a" * 64],
        "pretrained": "download",
    }


def test_names_of_answers() -> None:
    assert answer_names(["test/A/1.jpg", "test/B/2.jpg"]) == ["1.jpg", "2.jpg"]
    assert answer_names(["test/A/1.jpg", "test/B/1.jpg", "c.jpg"]) == [
        "test/A/1.jpg",
        "test/B/1.jpg",
        "c.jpg",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"image_size = 16\nseed = 4\n", "seed = 4, but the manifest says 3"),
        (b"image_size = 32\nseed = 3\n", "image_size = 32, but the manifest says 16"),
        (b"seed = 3\n", "image_size = None, but the manifest says 16"),
        (b"= 3", "not a TOML file"),
        (b"\xff", "not a TOML file"),
        (b"image_size = 16\nseed = 3\nx = " + b"[" * 5000, "not a TOML file"),
        (b"image_size = 16\nseed = 3\n[more]\n", "the field more is no plain value"),
    ],
)
def test_a_recipe_that_is_none(content: bytes, message: str, parts: Parts, tmp_path: Path) -> None:
    path = parts.with_file("recipe.toml", content).write(tmp_path / "team.zip")
    assert message in only(path)[0]
    assert only(path)[0].startswith("recipe.toml: ")


@pytest.mark.parametrize(
    ("content", "message"), [(b"\xff", "not UTF-8 (byte 0)"), (b"a\0", "NUL characters")]
)
def test_source_that_is_no_text(content: bytes, message: str, parts: Parts, tmp_path: Path) -> None:
    path = parts.with_file("model.py", content).write(tmp_path / "team.zip")
    assert message in only(path)[0]


def test_source_is_never_executed(parts: Parts, tmp_path: Path, photos: Dataset) -> None:
    trap = tmp_path / "executed"
    code = f"open({str(trap)!r}, 'w')\n"
    path = parts.with_file("model.py", code).with_file("source/a.py", code).write(tmp_path / "team.zip")
    assert only(path) == []
    open_submission(path)
    extract_submission(path, tmp_path / "inside")
    assert not trap.exists()


# --- weights ------------------------------------------------------------------------------------------------------


def tensors(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def described(shape: list[int], begin: int, end: int, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "shorter than its own length field"),
        (b"PK\3\4" + bytes(100), "a pickle, which runs code when it is read"),
        (b"\x80\x02}q\0." + bytes(40), "a pickle, which runs code when it is read"),
        (b"\x80\x05\x95" + bytes(40), "a pickle, which runs code when it is read"),
        (struct.pack("<Q", 2**63) + b"{}", "a header of 9,223,372,036,854,775,808 bytes in a file of 10"),
        (struct.pack("<Q", 100) + b"{}", "a header of 100 bytes in a file of 10"),
        (tensors(b"not json"), "its header is damaged"),
        (tensors(b'{"a": 1, "a": 2}'), "its header is damaged (the key 'a' is given twice)"),
        (tensors([]), "its header is no list of tensors"),
        (tensors({"__metadata__": {"a": 1}}), "only text is allowed"),
        (tensors({"__metadata__": []}), "only text is allowed"),
        (tensors({"a": []}), "must have dtype, shape and data_offsets"),
        (tensors({"a": {**described([1], 0, 4), "code": "x"}}, bytes(4)), "and nothing else"),
        (tensors({"a": described([1], 0, 4, "F7")}, bytes(4)), "has the type 'F7'; known are"),
        (tensors({"a": described([-1], 0, 4)}, bytes(4)), "is no list of at most 8 sizes"),
        (tensors({"a": described([1] * 9, 0, 4)}, bytes(4)), "is no list of at most 8 sizes"),
        (tensors({"a": described([True], 0, 4)}, bytes(4)), "is no list of at most 8 sizes"),
        (tensors({"a": described([2**40, 2**40], 0, 4)}, bytes(4)), "do not fit its shape"),
        (tensors({"a": described([2], 0, 4)}, bytes(4)), "has 4 bytes, which do not fit its shape"),
        (tensors({"a": described([1], 4, 0)}, bytes(4)), "has -4 bytes"),
        (tensors({"a": {**described([1], 0, 4), "data_offsets": [0]}}, bytes(4)), "no pair of positions"),
        (
            tensors({"a": described([1], 0, 4), "b": described([1], 0, 4)}, bytes(4)),
            "'b' overlaps with another",
        ),
        (
            tensors({"a": described([1], 0, 4), "b": described([1], 2, 6)}, bytes(6)),
            "'b' overlaps with another",
        ),
        (tensors({"a": described([1], 4, 8)}, bytes(8)), "'a' leaves a hole before it"),
        (tensors({"a": described([1], 0, 4)}, bytes(9)), "have 4 bytes, but 9 follow the header"),
        (tensors({"a": described([1], 0, 4)}), "have 4 bytes, but 0 follow the header"),
        (tensors({"a\x1b[2J": described([1], 0, 4)}, bytes(4)), "too long, or not printable"),
        (tensors({"x" * 600: described([1], 0, 4)}, bytes(4)), "too long, or not printable"),
    ],
)
def test_weights_that_are_none(content: bytes, message: str, parts: Parts, tmp_path: Path) -> None:
    path = parts.with_file("weights.safetensors", content).write(tmp_path / "team.zip")
    (line,) = only(path)
    assert line.startswith("weights.safetensors: ")
    assert message in line
    assert "\x1b" not in line


def test_weights_that_are_some(parts: Parts, tmp_path: Path) -> None:
    """What the format's own writer writes is read, whatever its types; also a header as long as pickles begin."""
    odd = {
        "a": np.ones((2, 3), np.float16),
        "b": np.zeros((), np.int64),
        "empty": np.zeros((0, 4), np.float32),
        "flags": np.ones(3, np.bool_),
    }
    assert only(parts.with_file("weights.safetensors", save(odd)).write(tmp_path / "a.zip")) == []
    padded = (
        json.dumps({"a": described([1], 0, 4)}).encode().ljust(640)
    )  # 640 is 0x0280, "\x80\x02" in the file
    content = struct.pack("<Q", 640) + padded + bytes(4)
    assert content.startswith(b"\x80\x02")
    assert only(parts.with_file("weights.safetensors", content).write(tmp_path / "b.zip")) == []


def test_every_finding_is_data(parts: Parts, tmp_path: Path) -> None:
    path = (
        parts.with_file("weights.safetensors", b"")
        .with_file("recipe.toml", b"=")
        .write(tmp_path / "team.zip")
    )
    for finding in verify_submission(path):
        value = finding.to_json()
        assert set(value) == {"rule", "severity", "path", "line", "message", "fix"}
        json.dumps(value, allow_nan=False)


def test_what_lies_further_in_waits(parts: Parts, tmp_path: Path) -> None:
    """A member that is not the one that was packed is not read any further."""
    path = parts.with_file("weights.safetensors", b"").write(tmp_path / "team.zip")
    with_manifest(path, lambda manifest: manifest["members"]["recipe.toml"].update(sha256="0" * 64))
    assert len(only(path)) == 1
    assert "recipe.toml" in only(path)[0]


def test_the_manifest_knows_its_order(team: Path) -> None:
    manifest = open_submission(team).manifest
    assert next(iter(manifest.to_json())) == "format"
    assert strict_json.loads(strict_json.dumps(manifest.to_json())) == json.loads(
        json.dumps(manifest.to_json())
    )
    assert manifest.macs == MACS


def test_neither_importing_nor_checking_source_loads_torch(parts: Parts, tmp_path: Path) -> None:
    path = parts.write(tmp_path / "team.zip")
    program = f"""
import sys
from pathlib import Path
from wisp.submission import verify_submission
import wisp.submission.graph
wisp.submission.graph.check_graph = lambda path, manifest: ()
assert [finding.severity for finding in verify_submission(Path({str(path)!r}))] == ["note"]
assert not {{"torch", "matplotlib"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wisp.errors import DataError, SubmissionError
from wisp.runtime import answers as module
from wisp.runtime.answers import Answers, read_answers, write_answers

NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40)


@given(st.integers(0, 10**15), st.dictionaries(NAMES, NAMES, max_size=20))
def test_both_forms_come_back(
    tmp_path_factory: pytest.TempPathFactory, macs: int, said: dict[str, str]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    found = Answers(macs, said)
    write_answers(folder / "answers.json", found)
    assert read_answers(folder / "answers.json") == found
    write_answers(folder / "answers.csv", found)
    back = read_answers(folder / "answers.csv")
    assert (back.macs, dict(back.answers)) == (None, said)


def test_what_the_files_look_like(tmp_path: Path) -> None:
    found = Answers(5, {"1.jpg": "Glass", 'a,"b".jpg': "종이"})
    write_answers(tmp_path / "a.csv", found)
    lines = ["file_name,class", "1.jpg,Glass", '"a,""b"".jpg",종이', ""]
    assert (tmp_path / "a.csv").read_bytes().decode().split("\r\n") == lines
    write_answers(tmp_path / "a.json", found)
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == {
        "macs": 5,
        "submission": dict(found.answers),
    }


@pytest.mark.parametrize(
    "text",
    [b"1.jpg,Glass\n", b"file_name,class\r\n1.jpg,Glass\r\n", b"\xef\xbb\xbffile_name,class\n\n1.jpg,Glass"],
)
def test_tables_of_others(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(text)
    assert read_answers(tmp_path / "a.csv").answers == {"1.jpg": "Glass"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"1.jpg\n", "a.csv:1: 1 fields; each line has a file name and a class"),
        (b"file_name,class\n1.jpg,Glass,0.9\n", "a.csv:2: 3 fields"),
        (b"1.jpg,Glass\n1.jpg,Metal\n", "a.csv:2: the file '1.jpg' is answered twice"),
        (b",Glass\n", "a.csv:1: a file name of 0 characters"),
        (b"1.jpg,\n", "a.csv:1: a class of 0 characters"),
        (b"1.jpg," + b"x" * 2000, "a class of 2,000 characters"),
        (b"x" * 200_000 + b",y", "not CSV"),
        (b'"1.jpg,Glass', "not CSV"),
        (b"a\0.jpg,Glass\n", "NUL"),
        (b"\xff,Glass\n", "not UTF-8 (byte 0)"),
    ],
)
def test_tables_that_are_none(text: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(text)
    with pytest.raises(SubmissionError) as caught:
        read_answers(tmp_path / "a.csv")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SubmissionError, match="cannot be read"):
        read_answers(tmp_path / "a.json")
    with pytest.raises(SubmissionError, match="not a file"):
        read_answers(tmp_path)
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(SubmissionError, match=r"a\.json: must be"):
        read_answers(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("[")
    with pytest.raises(SubmissionError, match=r"a\.json: not JSON"):
        read_answers(tmp_path / "a.json")
    monkeypatch.setattr(module, "LARGEST_BYTES", 0)
    with pytest.raises(SubmissionError, match="at most 0 bytes"):
        read_answers(tmp_path / "a.json")


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder"):
        write_answers(tmp_path, Answers(1, {}))
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write this file"):
        write_answers(tmp_path / "file" / "a.json", Answers(1, {}))

import numpy as np
import pytest
from matplotlib import font_manager
from PIL import Image

from wisp.report import confusion as module
from wisp.report.confusion import draw_confusion


def matrix(n, seed=0):
    return np.random.default_rng(seed).integers(0, 9, (n, n)) + 20 * np.eye(n, dtype=np.int64)


@pytest.mark.parametrize("n", [2, 9, 31, 120])
def test_writes_a_png_of_a_sensible_size(tmp_path, n):
    path = tmp_path / "figures" / "confusion.png"
    draw_confusion(matrix(n), [f"class {i}" for i in range(n)], path, title="macro F1 0.84 $ 100%")
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert 300 < image.width < 3000
        assert "Software" not in image.info
        assert len(image.getcolors(maxcolors=1 << 24)) > 20
    assert [p.name for p in path.parent.iterdir()] == ["confusion.png"]


@pytest.mark.parametrize(
    "names",
    [
        ("유리", "금속", "종이"),
        ("Plastic $x_1$", "a\nb\tc", "\u202epaper"),
        ("紙", "стекло", "😀"),
        ("x" * 300, "y", ""),
    ],
    ids=["korean", "odd", "mixed", "long"],
)
def test_any_class_name_is_drawn_without_a_warning(tmp_path, names):
    title = f"{names[0][:20]} test: macro F1 0.84"
    draw_confusion(matrix(3), names, tmp_path / "confusion.png", title=title)  # warnings are errors here
    assert (tmp_path / "confusion.png").stat().st_size > 5000


def test_the_same_matrix_gives_the_same_bytes_and_another_one_others(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        draw_confusion(matrix(3, seed), ("x", "y", "z"), tmp_path / f"{name}.png")
    first, second, third = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert first == second != third


def test_a_row_without_photos_is_white_not_a_crash(tmp_path):
    confusion = np.array([[3, 1], [0, 0]])
    draw_confusion(confusion, ("a", "b"), tmp_path / "confusion.png")
    assert (tmp_path / "confusion.png").is_file()


def test_names_that_no_font_has_become_numbers(monkeypatch):
    monkeypatch.setattr(module, "_best_font", lambda wanted: ("", set()))
    assert module._drawable(["Glass", "종이", "стекло"]) == (["DejaVu Sans"], ["Glass", "class 1", "стекло"])


def test_a_title_that_no_font_has_keeps_what_can_be_drawn(monkeypatch):
    monkeypatch.setattr(module, "_best_font", lambda wanted: ("", set()))
    assert module._drawable_text("사진 test 0.84") == (["DejaVu Sans"], "?? test 0.84")


def test_a_font_with_the_characters_is_used_where_there_is_one(monkeypatch):
    other = next(font for font in font_manager.fontManager.ttflist if font.name == "cmr10")
    monkeypatch.setattr(module, "_characters", lambda font: {0xC885} if font == other.fname else {0x41})
    assert module._drawable(["A", "\uc885"]) == (["DejaVu Sans", "cmr10"], ["A", "\uc885"])
    assert module._drawable(["A", "\uc885", "B"]) == (["DejaVu Sans", "cmr10"], ["A", "\uc885", "class 2"])


def test_a_font_file_that_cannot_be_read_has_no_characters(tmp_path):
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    assert module._characters(str(tmp_path / "broken.ttf")) == set()
    assert module._characters(str(tmp_path / "missing.ttf")) == set()


def test_decomposed_names_are_composed(monkeypatch):
    assert module._drawable(["e\u0301"])[1] == ["é"]

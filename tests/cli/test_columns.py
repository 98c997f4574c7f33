import pytest

from wisp.cli import columns


@pytest.mark.parametrize(
    ("text", "width"), [("glass", 5), ("유리", 4), ("ガラス", 6), ("e\u0301", 1), ("", 0)]
)
def test_width_on_a_terminal(text, width):
    assert columns.width(text) == width
    assert columns.pad(text, 8) == text + " " * (8 - width)

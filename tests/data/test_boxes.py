"""Frames against Pillow's own turning of pixels; margins and clipping by their bounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from wisp.data.boxes import clip, find_frame, upright_size, with_margin

sides = st.integers(1, 40)
orientations = st.integers(1, 8)


@given(data=st.data(), width=sides, height=sides, orientation=orientations)
def test_boxes_turn_as_pixels_do(data: st.DataObject, width: int, height: int, orientation: int) -> None:
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    w, h = data.draw(st.integers(1, width - x)), data.draw(st.integers(1, height - y))
    pixels = np.zeros((height, width), np.uint8)
    pixels[y : y + h, x : x + w] = 255
    image = Image.fromarray(pixels)
    image.getexif()[0x0112] = orientation
    turned = np.asarray(ImageOps.exif_transpose(image))

    frame = find_frame((width, height), (width, height), orientation)
    assert frame is not None
    if not frame.as_stored:  # the upright photo has the same size: ask for the other reading
        frame = type(frame)(frame.stored, orientation, True, (1.0, 1.0))
    left, top, across, down = map(round, frame.to_upright((x, y, w, h)))
    assert turned.shape == frame.upright[::-1]
    expected = np.zeros_like(turned)
    expected[top : top + down, left : left + across] = 255
    assert np.array_equal(turned, expected)


def test_the_annotated_size_tells_the_frame() -> None:
    upright = find_frame((30, 40), (40, 30), 6)
    stored = find_frame((40, 30), (40, 30), 6)
    assert upright is not None
    assert stored is not None
    assert (upright.as_stored, stored.as_stored) == (False, True)
    assert upright.upright == stored.upright == (30, 40)
    assert upright.to_upright((1, 2, 3, 4)) == (1, 2, 3, 4)
    assert stored.to_upright((1, 2, 3, 4)) == (30 - 2 - 4, 1, 4, 3)


def test_where_both_frames_fit_the_upright_one_counts() -> None:
    for annotated, stored, orientation in (
        ((40, 30), (40, 30), 3),
        ((40, 40), (40, 40), 6),
        (None, (40, 30), 6),
    ):
        frame = find_frame(annotated, stored, orientation)
        assert frame is not None
        assert not frame.as_stored


@pytest.mark.parametrize(
    ("annotated", "orientation", "as_stored"),
    [((1200, 1600), 1, False), ((1200, 1600), 8, True), ((1600, 1200), 8, False)],
)
def test_scaled_photos(annotated: tuple[int, int], orientation: int, as_stored: bool) -> None:
    frame = find_frame(annotated, (300, 400), orientation)
    assert frame is not None
    assert frame.as_stored == as_stored
    assert frame.scale == (0.25, 0.25)


@given(width=st.integers(100, 6000), height=st.integers(100, 6000), divisor=st.floats(1, 15))
def test_a_rounded_smaller_copy_always_fits(width: int, height: int, divisor: float) -> None:
    small = max(1, round(width / divisor)), max(1, round(height / divisor))
    frame = find_frame((width, height), small, 1)
    assert frame is not None
    x, y, w, h = frame.to_upright((0, 0, width, height))
    assert (x, y) == (0, 0)
    assert (w, h) == pytest.approx(small)


@pytest.mark.parametrize("orientation", [1, 6])
def test_another_aspect_ratio_is_another_photo(orientation: int) -> None:
    assert find_frame((500, 374), (1600, 1100), orientation) is None
    assert find_frame((640, 480), (480, 480), orientation) is None


def test_upright_sizes() -> None:
    assert [upright_size((2, 1), orientation) for orientation in (1, 4, 5, 8)] == [
        (2, 1),
        (2, 1),
        (1, 2),
        (1, 2),
    ]


def test_clipping() -> None:
    assert clip((-5, -5, 10, 20), (30, 10)) == (0, 0, 5, 10)
    assert clip((1, 2, 3, 4), (30, 10)) == (1, 2, 3, 4)
    for outside in ((30, 0, 5, 5), (-9, 0, 9, 9), (0, 10, 3, 3), (0, -8, 3, 8)):
        assert clip(outside, (30, 10)) is None


@given(
    x=st.floats(-50, 150),
    y=st.floats(-50, 150),
    w=st.floats(0.01, 200),
    h=st.floats(0.01, 200),
    margin=st.floats(0, 2),
)
def test_rectangles_hold_their_box_and_stay_on_the_photo(
    x: float, y: float, w: float, h: float, margin: float
) -> None:
    size = (100, 80)
    inside = clip((x, y, w, h), size)
    if inside is None:
        return
    left, top, right, bottom = with_margin(inside, size, margin)
    assert 0 <= left < right <= 100
    assert 0 <= top < bottom <= 80
    assert left <= inside[0]
    assert top <= inside[1]
    assert right >= min(100, inside[0] + inside[2]) - 1e-9
    assert bottom >= min(80, inside[1] + inside[3]) - 1e-9


def test_a_margin_is_a_fraction_of_the_box_on_each_side() -> None:
    assert with_margin((20, 40, 10, 20), (100, 100), 0.1) == (19, 38, 31, 62)
    assert with_margin((0, 0, 10, 20), (11, 100), 0.5) == (0, 0, 11, 30)

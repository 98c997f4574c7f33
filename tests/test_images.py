from __future__ import annotations

import io
import os
import struct
import threading
import warnings
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from wisp import images
from wisp.errors import DataError
from wisp.images import BACKGROUND, IMAGE_SUFFIXES, MAX_PIXELS, PAD_GREY, open_photo, preprocess
from wisp.records import GEOMETRIES, Geometry, ResizeRule

RED, BLUE = (220, 30, 30), (20, 40, 210)
ORIENTATION = 0x0112


def two_halves(width: int = 96, height: int = 64) -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(BLUE, (width // 2, 0, width, height))
    return image


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def photographic(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth gradients with some texture: what JPEG meets in photos."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    noise = rng.normal(0, 6, (height, width, 3))
    return Image.fromarray((np.asarray(coarse) + noise).clip(0, 255).astype(np.uint8))


def close(pixel: np.ndarray, colour: tuple[int, int, int], tolerance: int = 12) -> bool:
    return bool(np.abs(pixel.astype(int) - colour).max() <= tolerance)


# --- every kind of file -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "MPO"])
def test_every_kind_gives_the_same_picture(kind: str, tmp_path: Path) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow was built without AVIF")
    path = tmp_path / "photo.bin"  # the content tells the kind, not the name
    path.write_bytes(encoded(two_halves(), kind))
    pixels = preprocess(path, ResizeRule(16))
    assert pixels.shape == (16, 16, 3)
    assert pixels.dtype == np.uint8
    assert close(pixels[8, 2], RED)
    assert close(pixels[8, 13], BLUE)


@pytest.mark.parametrize(
    "as_source", [Path, str, lambda path: path.read_bytes(), lambda path: path.open("rb")]
)
def test_every_source_gives_the_same_pixels(as_source: Callable[[Path], object], tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(encoded(photographic(200, 150), "JPEG", quality=90))
    rule = ResizeRule(32)
    source = as_source(path)
    np.testing.assert_array_equal(preprocess(source, rule), preprocess(path, rule))  # type: ignore[arg-type]
    if isinstance(source, io.IOBase):
        assert not source.closed  # the caller's stream stays the caller's
        np.testing.assert_array_equal(preprocess(source, rule), preprocess(path, rule))  # type: ignore[arg-type]
        source.close()


def test_a_pipe_is_read_to_its_end() -> None:
    content = encoded(two_halves(), "PNG")
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as stream:
        with os.fdopen(writer, "wb") as sink:
            sink.write(content)
        np.testing.assert_array_equal(preprocess(stream, ResizeRule(8)), preprocess(content, ResizeRule(8)))


def test_decoded_pixels_and_pillow_images_are_taken_too() -> None:
    image = photographic(40, 30)
    from_pillow = preprocess(image, ResizeRule(16))
    np.testing.assert_array_equal(from_pillow, preprocess(np.asarray(image), ResizeRule(16)))
    np.testing.assert_array_equal(from_pillow, preprocess(encoded(image, "PNG"), ResizeRule(16)))
    np.testing.assert_array_equal(preprocess(np.asarray(image)[:, ::-1], ResizeRule(16)).shape, (16, 16, 3))
    from_pillow[0] = 0  # writable, so that torch.from_numpy takes it without a warning


# --- EXIF orientation ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_turns_the_photo_upright(kind: str, orientation: int) -> None:
    upright = two_halves(64, 48)
    upright.paste((240, 240, 240), (0, 0, 32, 24))  # a corner, so that no two turns look alike
    undo = {
        1: lambda image: image,
        2: lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: lambda image: image.transpose(Image.Transpose.ROTATE_180),
        4: lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: lambda image: image.transpose(Image.Transpose.TRANSPOSE),
        6: lambda image: image.transpose(Image.Transpose.ROTATE_90),
        7: lambda image: image.transpose(Image.Transpose.TRANSVERSE),
        8: lambda image: image.transpose(Image.Transpose.ROTATE_270),
    }
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored = encoded(
        undo[orientation](upright), kind, exif=exif, **({"quality": 95} if kind != "TIFF" else {})
    )
    opened = open_photo(stored)
    assert opened.size == upright.size
    difference = np.abs(np.asarray(opened).astype(int) - np.asarray(upright))
    assert difference.mean() < 4
    for geometry in GEOMETRIES:
        turned = preprocess(stored, ResizeRule(16, geometry)).astype(int)
        assert np.abs(turned - preprocess(upright, ResizeRule(16, geometry))).mean() < 6


def test_a_pillow_image_is_turned_once() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 3
    stored = Image.open(io.BytesIO(encoded(two_halves(), "PNG", exif=exif)))
    assert close(preprocess(stored, ResizeRule(8))[4, 1], BLUE)


@pytest.mark.parametrize(
    "exif", [b"Exif\x00\x00II*\x00\xff\xff\xff\xff", b"Exif\x00\x00", b"Exif\x00\x00garbage"]
)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow remarks on it when opening
def test_damaged_exif_does_not_cost_the_photo(exif: bytes) -> None:
    assert close(preprocess(encoded(two_halves(), "JPEG", exif=exif), ResizeRule(8))[4, 1], RED)


def test_an_orientation_that_does_not_exist_is_ignored() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 42
    assert close(preprocess(encoded(two_halves(), "JPEG", exif=exif), ResizeRule(8))[4, 1], RED)


# --- modes --------------------------------------------------------------------------------------------------------


def test_cmyk_and_grey_jpeg() -> None:
    cmyk = preprocess(encoded(two_halves().convert("CMYK"), "JPEG", quality=95), ResizeRule(8))
    assert close(cmyk[4, 1], RED)
    assert close(cmyk[4, 6], BLUE)
    grey = preprocess(encoded(Image.new("L", (40, 30), 77), "JPEG"), ResizeRule(8))
    assert (grey == 77).all()


def test_transparent_pixels_show_the_background() -> None:
    image = Image.new("RGBA", (32, 32), (*RED, 255))
    image.paste((0, 0, 0, 0), (16, 0, 32, 32))
    pixels = preprocess(encoded(image, "PNG"), ResizeRule(32))
    assert tuple(pixels[5, 5]) == RED
    assert tuple(pixels[5, 25]) == BACKGROUND


def test_half_transparency_is_mixed_with_the_background() -> None:
    pixels = preprocess(encoded(Image.new("RGBA", (8, 8), (0, 0, 0, 128)), "PNG"), ResizeRule(8))
    assert close(pixels[0, 0], (127, 127, 127), 1)
    grey = preprocess(encoded(Image.new("LA", (8, 8), (0, 128)), "PNG"), ResizeRule(8))
    np.testing.assert_array_equal(grey, pixels)


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_palettes_with_and_without_transparency(kind: str) -> None:
    image = Image.new("P", (32, 32), 0)
    image.putpalette([*RED, *BLUE, 0, 0, 0])
    image.paste(1, (16, 0, 32, 32))
    opaque = preprocess(encoded(image, kind), ResizeRule(32))
    assert tuple(opaque[5, 5]) == RED
    assert tuple(opaque[5, 25]) == BLUE
    transparent = preprocess(encoded(image, kind, transparency=1), ResizeRule(32))
    assert tuple(transparent[5, 5]) == RED
    assert tuple(transparent[5, 25]) == BACKGROUND


@pytest.mark.parametrize(("mode", "fill", "key"), [("RGB", RED, RED), ("L", 9, 9)])
def test_a_transparent_colour_without_an_alpha_channel(mode: str, fill: object, key: object) -> None:
    pixels = preprocess(encoded(Image.new(mode, (8, 8), fill), "PNG", transparency=key), ResizeRule(8))  # type: ignore[arg-type]
    assert tuple(pixels[0, 0]) == BACKGROUND


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_not_clipped(kind: str) -> None:
    ramp = np.linspace(0, 65535, 256).round().astype(np.uint16)
    image = Image.fromarray(np.tile(ramp, (256, 1)))
    pixels = preprocess(encoded(image, kind), ResizeRule(256))
    np.testing.assert_array_equal(pixels[0, :, 0], np.arange(256))


def test_16_bit_colour_png() -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    row = b"\0" + struct.pack(">3H", 0xDC00, 0x1E00, 0x1E00) * 8
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0))
    png += chunk(b"IDAT", zlib.compress(row * 8)) + chunk(b"IEND", b"")
    assert tuple(preprocess(png, ResizeRule(8))[0, 0]) == RED


def test_32_bit_integers_keep_the_16_bit_range_and_one_bit_is_black_and_white() -> None:
    wide = Image.fromarray(np.array([[0, 65535, 10**6, -5]], np.int32))
    assert preprocess(wide, ResizeRule(4, "pad"))[1, :, 0].tolist() == [0, 255, 255, 0]
    assert (preprocess(encoded(Image.new("1", (8, 8), 1), "PNG"), ResizeRule(8)) == 255).all()


def test_floating_point_is_refused() -> None:
    with pytest.raises(DataError, match="floating-point"):
        preprocess(Image.new("F", (4, 4), 0.5), ResizeRule(4))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_of_an_animation_counts(kind: str) -> None:
    frames = [Image.new("RGB", (32, 32), colour) for colour in (RED, BLUE, BLUE)]
    content = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    assert close(preprocess(content, ResizeRule(8))[4, 4], RED)


# --- sizes and names ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("size", [(1, 1), (200, 1), (1, 200), (12_000, 60), (60, 12_000), (7, 5)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_thin_crops_and_panoramas(kind: str, size: tuple[int, int], geometry: Geometry) -> None:
    pixels = preprocess(encoded(Image.new("RGB", size, RED), kind), ResizeRule(48, geometry))
    assert pixels.shape == (48, 48, 3)
    middle = (
        pixels[24 - (geometry == "pad" and size[1] * 48 < size[0]), 24]
        if size != (1, 200)
        else pixels[24, 23]
    )
    assert close(middle, RED) or geometry == "pad"
    if geometry != "pad":
        assert close(pixels.reshape(-1, 3).min(axis=0), RED)
        assert close(pixels.reshape(-1, 3).max(axis=0), RED)
    else:
        colours = {tuple(colour) for colour in pixels.reshape(-1, 3)}
        assert any(close(np.array(colour), RED) for colour in colours)


@pytest.mark.parametrize(
    "name", ["사진 - été.jpg", "x" * 250 + ".jpg", "no suffix", "$(touch x);'\".jpg", "a\nb.jpg"]
)
def test_odd_file_names(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(encoded(two_halves(), "JPEG"))
    assert preprocess(path, ResizeRule(8)).shape == (8, 8, 3)


def test_a_photo_of_108_megapixels_passes_without_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "phone.jpg"
    Image.new("L", (12_000, 9_000), 90).save(path, quality=30)  # a warning would be an error here
    assert np.abs(preprocess(path, ResizeRule(64)).astype(int) - 90).max() <= 1
    assert open_photo(path, ResizeRule(64)).size == (1500, 1125)  # an eighth: a phone's photo costs 5 MB


def test_photos_open_in_threads_side_by_side(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(encoded(photographic(256, 192), "JPEG"))
    expected = preprocess(path, ResizeRule(32))
    results: list[bool] = []
    threads = [
        threading.Thread(
            target=lambda: results.append(bool((preprocess(path, ResizeRule(32)) == expected).all()))
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 8


# --- geometry -----------------------------------------------------------------------------------------------------


def test_stretch_uses_the_whole_photo() -> None:
    pixels = preprocess(two_halves(100, 20), ResizeRule(10))
    assert tuple(pixels[0, 0]) == RED
    assert tuple(pixels[9, 9]) == BLUE


def test_pad_keeps_the_aspect_ratio_in_grey() -> None:
    pixels = preprocess(two_halves(100, 50), ResizeRule(20, "pad"))
    assert (pixels[:5] == PAD_GREY).all()
    assert (pixels[15:] == PAD_GREY).all()
    assert tuple(pixels[5, 0]) == RED
    assert tuple(pixels[14, 19]) == BLUE
    upright = preprocess(two_halves(50, 100), ResizeRule(20, "pad"))
    assert (upright[:, :5] == PAD_GREY).all()
    assert (upright[:, 15:] == PAD_GREY).all()


def test_crop_takes_the_centre() -> None:
    image = Image.new("RGB", (90, 30), BLUE)
    image.paste(RED, (30, 0, 60, 30))
    pixels = preprocess(image, ResizeRule(15, "crop"))
    assert (pixels[:, 1:-1] == RED).all()  # at the cut the filter looks one pixel beyond it
    assert close(pixels[7, 0], RED, 30)


def test_an_unknown_geometry_is_named() -> None:
    with pytest.raises(DataError, match="unknown geometry 'fisheye'"):
        preprocess(two_halves(), ResizeRule(8, "fisheye"))  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(1, 300),
    height=st.integers(1, 300),
    size=st.integers(1, 96),
    geometry=st.sampled_from(GEOMETRIES),
)
def test_scaled_decoding_never_leaves_fewer_pixels_than_asked(
    width: int, height: int, size: int, geometry: Geometry
) -> None:
    content = encoded(Image.new("RGB", (width, height), RED), "JPEG")
    rule = ResizeRule(size, geometry)
    opened = open_photo(content, rule)
    needed = max if geometry == "pad" else min
    assert needed(opened.size) >= min(size, needed(width, height))
    assert preprocess(content, rule).shape == (size, size, 3)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("size", [32, 48, 64, 96])
def test_scaled_decoding_looks_like_full_decoding(size: int, geometry: Geometry) -> None:
    content = encoded(photographic(512, 384), "JPEG", quality=90)
    rule = ResizeRule(size, geometry)
    scaled = preprocess(content, rule).astype(float)
    full = preprocess(open_photo(content), rule)
    assert 10 * np.log10(255**2 / ((scaled - full) ** 2).mean()) > 38  # dB; 40 is where eyes stop telling


# --- what must be refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_truncated_files_are_named(kind: str, tmp_path: Path) -> None:
    content = encoded(photographic(128, 96), kind)
    path = tmp_path / "cut.jpg"
    for length in (len(content) // 2, 20, 13):
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match=r"cut\.jpg") as caught:
            preprocess(path, ResizeRule(32))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"<html>not found</html>", "not a photo of a known kind"),
        (b"\0\0\0\x18ftypheic" + b"\0" * 40, "HEIC photos are not supported; convert them to JPEG"),
        (b"\0\0\0\x18ftypmif1" + b"\0" * 40, "HEIC"),
        (b"\0\0\0\x18ftypavif" + b"\0" * 40, "cannot read this photo"),
        (b"\xff\xd8\xff" + bytes(range(256)), "cannot read this photo"),
        (b"RIFF\0\0\0\0WAVEfmt ", "cannot read this photo"),
    ],
)
def test_what_is_no_photo_gives_one_clear_line(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "IMG_0001.jpg"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        preprocess(path, ResizeRule(32))
    assert str(caught.value).startswith(f"{path}: ")


def test_missing_files_folders_and_names_that_are_too_long(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        preprocess(tmp_path / "missing.jpg", ResizeRule(8))
    with pytest.raises(DataError, match="directory"):
        preprocess(tmp_path, ResizeRule(8))
    with pytest.raises(DataError, match="too long"):
        preprocess(tmp_path / ("x" * 5000), ResizeRule(8))


@pytest.mark.parametrize("side", [20_000, 65_500])
def test_a_decompression_bomb_is_refused_by_its_header(side: int, tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    content = bytearray(encoded(Image.new("L", (16, 16)), "PNG"))
    content[16:24] = struct.pack(">II", side, side)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    path.write_bytes(content)
    with pytest.raises(
        DataError, match=rf"bomb.png: {side} x {side} pixels is over the limit of {MAX_PIXELS:,}"
    ):
        preprocess(path, ResizeRule(8))


def test_memory_that_runs_out_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(_: Image.Image) -> Image.Image:
        raise MemoryError

    monkeypatch.setattr(images, "_to_rgb", exhausted)
    with pytest.raises(DataError, match="not enough memory"):
        preprocess(encoded(two_halves(), "PNG"), ResizeRule(8))


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), float),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_pixels_of_another_shape_or_type_are_refused(pixels: np.ndarray) -> None:
    with pytest.raises(DataError, match="height x width x 3"):
        preprocess(pixels, ResizeRule(4))


def test_sources_without_a_name_are_described() -> None:
    with pytest.raises(DataError, match="photo in memory"):
        preprocess(b"nonsense", ResizeRule(4))


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_bytes_raise_nothing_but_data_errors(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"]))
    content = bytearray(encoded(photographic(24, 16), kind))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow remarks on odd tags; whether the photo opens is what counts
        with suppress(DataError):
            assert preprocess(bytes(content), ResizeRule(8)).shape == (8, 8, 3)


def test_suffixes_are_lower_case_and_name_heic() -> None:
    assert {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".heic"} <= IMAGE_SUFFIXES
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in IMAGE_SUFFIXES)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_an_upright_photo_is_not_turned_again(tmp_path: Path, orientation: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.png"
    Image.fromarray(pixels).save(path, exif=exif)
    rule = ResizeRule(16)
    assert (preprocess(open_photo(path), rule) == preprocess(path, rule)).all()

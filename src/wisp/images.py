"""One way from a photo to pixels, shared by the training cache and the runtime (numpy and Pillow only).

Whatever a phone or camera writes becomes upright 8-bit RGB: EXIF orientation is applied, transparency is
laid over white, 16-bit grey is scaled to 8 bits, of an animation the first frame counts. Colour profiles are
ignored.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from wisp.errors import DataError
from wisp.records import ResizeRule

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

Pixels: TypeAlias = npt.NDArray[np.uint8]
EncodedPhoto: TypeAlias = Path | str | bytes | BinaryIO
Photo: TypeAlias = EncodedPhoto | Image.Image | Pixels

# Raised whenever the same file would give other pixels than before: it makes every cache rebuild.
PREPROCESS_VERSION = 1
# The largest photo that is decoded: the 16,320 x 12,240 of today's largest phone sensors just passes. Decoded
# whole (anything but JPEG) that takes 0.8 GB, and twice as much with transparency.
MAX_PIXELS = 200_000_000
BACKGROUND = (255, 255, 255)  # behind transparent pixels
PAD_GREY = 128  # beside the photo where the geometry is "pad"

# What a folder is searched for. HEIC is listed so that such photos are reported, not silently passed over.
IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif"}
    | {".heic", ".heif"}
)

# Leading bytes -> Pillow plugin. The plugins are called directly because `Image.open` guards against
# decompression bombs with a process-wide limit below what phones write today; MAX_PIXELS is ours alone.
_PLUGINS = (
    ((b"\xff\xd8\xff",), "JpegImagePlugin", "JpegImageFile"),
    ((b"\x89PNG\r\n\x1a\n",), "PngImagePlugin", "PngImageFile"),
    ((b"RIFF",), "WebPImagePlugin", "WebPImageFile"),
    ((b"GIF87a", b"GIF89a"), "GifImagePlugin", "GifImageFile"),
    ((b"BM",), "BmpImagePlugin", "BmpImageFile"),
    ((b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"), "TiffImagePlugin", "TiffImageFile"),
)
_AVIF_BRANDS = (b"avif", b"avis")
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

_EXIF_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def preprocess(source: Photo, rule: ResizeRule) -> Pixels:
    """The pixels a network sees of one photo: the only preprocessing there is.

    Args:
        source: a path, encoded bytes, a binary stream (read from its start), a Pillow image, or RGB pixels
            (uint8, height x width x 3).
        rule: side length in pixels and geometry.

    Returns:
        uint8, size x size x 3, RGB. A JPEG file and its decoded pixels differ slightly (about 47 dB), since
        files are decoded at a reduced scale.

    Raises:
        DataError: the photo cannot be read, or the pixels have another shape or type; it names the file.
    """
    if isinstance(source, np.ndarray):
        image = _from_pixels(source)
    elif isinstance(source, Image.Image):
        image = _guarded(source, lambda: _upright_rgb(source))
    else:
        image = open_photo(source, rule)
    return _fit(image, rule)


def open_photo(source: EncodedPhoto, rule: ResizeRule | None = None) -> Image.Image:
    """Decode one photo to upright 8-bit RGB.

    With a `rule`, a JPEG is decoded at 1/2, 1/4 or 1/8 scale where that leaves enough pixels for the rule:
    the decoder computes a smaller inverse DCT, which averages as a box filter would (libjpeg, `scale_denom`).

    Raises:
        DataError: missing, unreadable, truncated, too large, or of an unsupported kind; it names the file.
    """
    return _guarded(source, lambda: _decode(source, rule))


def describe(source: Photo) -> str:
    """How messages name a photo: its path where it has one."""
    if isinstance(source, Path | str):
        return str(source)
    name = getattr(source, "filename", None) or getattr(source, "name", None)
    return str(name) if name else f"photo in memory ({type(source).__name__})"


def _guarded(source: Photo, decode: Callable[[], Image.Image]) -> Image.Image:
    """Run `decode`; whatever it raises becomes one line that names the photo."""
    try:
        return decode()
    except DataError:
        raise
    except MemoryError as error:
        raise DataError(f"{describe(source)}: not enough memory to decode this photo") from error
    except Exception as error:
        # Damaged files make Pillow raise almost anything, from SyntaxError to struct.error.
        reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{describe(source)}: cannot read this photo ({reason})") from error


def _decode(source: EncodedPhoto, rule: ResizeRule | None) -> Image.Image:
    with _stream(source) as stream:
        image = open_header(stream, describe(source))
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise DataError(
                f"{describe(source)}: {width} x {height} pixels is over the limit of {MAX_PIXELS:,} "
                "(a decompression bomb?); make it smaller first"
            )
        if rule is not None:
            # Only JPEG does anything here. `pad` needs as many pixels as the rule on the long side alone, the
            # others on the short one too. EXIF may swap the sides later: no matter for a square.
            scale = (max if rule.geometry == "pad" else min)(width, height) // rule.size
            if scale > 1:
                image.draft(None, (max(1, width // scale), max(1, height // scale)))
        return _upright_rgb(image)


def _stream(source: EncodedPhoto) -> AbstractContextManager[BinaryIO]:
    if isinstance(source, Path | str):
        return Path(source).open("rb")
    if isinstance(source, bytes):
        return BytesIO(source)
    if not source.seekable():  # a pipe
        return BytesIO(source.read())
    source.seek(0)
    return nullcontext(source)


def open_header(stream: BinaryIO, where: str) -> ImageFile:
    """Read the header alone; the kind of file is told by its first bytes, whatever its name."""
    head = stream.read(12)
    stream.seek(0)
    if not head:
        raise DataError(f"{where}: the file is empty")
    for prefixes, module, name in _PLUGINS:
        if head.startswith(prefixes):
            return _plugin(module, name)(stream)
    if head[4:8] == b"ftyp" and head[8:12] in _AVIF_BRANDS:
        return _plugin("AvifImagePlugin", "AvifImageFile")(stream)
    if head[4:8] == b"ftyp" and head[8:12] in _HEIC_BRANDS:
        raise DataError(
            f"{where}: HEIC photos are not supported; convert them to JPEG "
            "(iPhone: Settings > Camera > Formats > Most Compatible)"
        )
    raise DataError(f"{where}: not a photo of a known kind (JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF)")


def _plugin(module: str, name: str) -> Callable[[BinaryIO], ImageFile]:
    plugin: Callable[[BinaryIO], ImageFile] = getattr(importlib.import_module(f"PIL.{module}"), name)
    return plugin


def _upright_rgb(image: Image.Image) -> Image.Image:
    image.load()
    # Read after loading: some formats keep EXIF behind the pixels, and TIFF turns the image by itself.
    turn = _UPRIGHT.get(_orientation(image))
    image = _to_rgb(image)
    if turn is None:
        return image
    upright = image.transpose(turn)
    for key in ("exif", "xmp", "XML:com.adobe.xmp"):  # they would have it turned once more
        upright.info.pop(key, None)
    return upright


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # damaged EXIF beside intact pixels: show the photo as stored
        return 1
    return value if isinstance(value, int) else 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "F":
        raise DataError(
            f"{describe(image)}: floating-point pixels have no known range; convert to 8 or 16 bits"
        )
    if image.mode.startswith("I"):  # 16-bit grey; Pillow's own convert() would clip at 255
        wide = np.asarray(image).clip(0, 65535).astype(np.uint32)
        return Image.fromarray(((wide + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        flat = Image.new("RGB", image.size, BACKGROUND)
        flat.paste(rgba, mask=rgba)
        return flat
    return image.convert("RGB")


def _from_pixels(pixels: Pixels) -> Image.Image:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise DataError(
            f"pixels must be uint8, height x width x 3 (RGB), got {pixels.dtype} of shape {pixels.shape}"
        )
    return Image.fromarray(pixels)


def _fit(image: Image.Image, rule: ResizeRule) -> Pixels:
    """Resize as the geometry says, antialiased (Pillow's BILINEAR is a triangle as wide as the scale)."""
    size, (width, height) = rule.size, image.size
    match rule.geometry:
        case "stretch":
            return np.array(_resize(image, (size, size)))
        case "crop":
            side = min(width, height)
            left, top = (width - side) / 2, (height - side) / 2
            return np.array(_resize(image, (size, size), (left, top, left + side, top + side)))
        case "pad":
            scale = size / max(width, height)
            new_width, new_height = max(1, round(width * scale)), max(1, round(height * scale))
            left, top = (size - new_width) // 2, (size - new_height) // 2
            canvas = np.full((size, size, 3), PAD_GREY, np.uint8)
            canvas[top : top + new_height, left : left + new_width] = np.asarray(
                _resize(image, (new_width, new_height))
            )
            return canvas
    raise DataError(f"unknown geometry {rule.geometry!r}; use stretch, pad or crop")


def _resize(
    image: Image.Image, size: tuple[int, int], box: tuple[float, float, float, float] | None = None
) -> Image.Image:
    # reducing_gap: large images are first shrunk by a whole factor, to no less than three times the target.
    return image.resize(size, Image.Resampling.BILINEAR, box=box, reducing_gap=3.0)

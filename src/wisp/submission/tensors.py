"""The header of a safetensors file, read strictly: what tensors there are, without touching their values.

The format: eight bytes with the header's length, the header (JSON), and the tensors' bytes. The format's own reader
takes headers of 100 MB; and two readers may see two things where offsets overlap or leave holes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import Any

from wisp import strict_json
from wisp.errors import SubmissionError

LARGEST_HEADER_BYTES = 4 << 20
MOST_TENSORS = 20_000
_LONGEST_NAME = 500
_MOST_AXES = 8
_METADATA = "__metadata__"
_PICKLES = (b"PK\3\4", b"\x80\2", b"\x80\3", b"\x80\4", b"\x80\5")  # torch.save's zip file, and plain ones
# Those that networks have; sub-byte and 8-bit floats are not among them.
_SIZES: Mapping[str, int] = MappingProxyType(
    {
        "BOOL": 1,
        "U8": 1,
        "I8": 1,
        "U16": 2,
        "I16": 2,
        "F16": 2,
        "BF16": 2,
        "U32": 4,
        "I32": 4,
        "F32": 4,
        "U64": 8,
        "I64": 8,
        "F64": 8,
    }
)


@dataclass(frozen=True, slots=True)
class Tensor:
    """Type and shape of one tensor, and where its bytes lie behind the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_tensors(content: bytes) -> dict[str, Tensor]:
    """The tensors that a safetensors file holds, in the order of their bytes.

    Args:
        content: the whole file.

    Raises:
        SubmissionError: not a safetensors file, or one that could be read in two ways; the message has no file name.
    """
    if len(content) < 8:
        raise SubmissionError("not a safetensors file (shorter than its own length field)")
    header_bytes = int.from_bytes(content[:8], "little")
    if header_bytes > min(LARGEST_HEADER_BYTES, len(content) - 8):
        if content.startswith(_PICKLES):
            raise SubmissionError("a pickle, which runs code when it is read; weights are .safetensors")
        raise SubmissionError(
            f"not a safetensors file (a header of {header_bytes:,} bytes in a file of {len(content):,})"
        )
    try:
        header = strict_json.loads(content[8 : 8 + header_bytes], max_depth=4)
    except strict_json.StrictJsonError as error:
        raise SubmissionError(f"its header is damaged ({error})") from error
    if not isinstance(header, dict):
        raise SubmissionError("its header is no list of tensors")
    metadata = header.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise SubmissionError("its metadata is damaged (only text is allowed)")
    if len(header) > MOST_TENSORS:
        raise SubmissionError(f"{len(header):,} tensors; at most {MOST_TENSORS:,} are allowed")
    tensors = {name: _tensor(name, value) for name, value in header.items()}
    _check_places(tensors, len(content) - 8 - header_bytes)
    return dict(sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)))


def _tensor(name: str, value: Any) -> Tensor:
    if len(name) > _LONGEST_NAME or not name.isprintable():
        raise SubmissionError(f"the tensor name {name[:60]!a} is too long, or not printable")
    shown = f"the tensor {name[:80]!r}"
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise SubmissionError(f"{shown} must have dtype, shape and data_offsets, and nothing else")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _SIZES:
        raise SubmissionError(f"{shown} has the type {str(dtype)[:20]!r}; known are {', '.join(_SIZES)}")
    if not _are_counts(shape) or len(shape) > _MOST_AXES:
        raise SubmissionError(f"the shape of {shown} is no list of at most {_MOST_AXES} sizes")
    if not _are_counts(offsets) or len(offsets) != 2:
        raise SubmissionError(f"the offsets of {shown} are no pair of positions")
    begin, end = offsets
    if end - begin != prod(shape) * _SIZES[dtype]:
        raise SubmissionError(f"{shown} has {end - begin:,} bytes, which do not fit its shape and type")
    return Tensor(dtype, tuple(shape), begin, end)


def _are_counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 2**48 for item in value)


def _check_places(tensors: Mapping[str, Tensor], data_bytes: int) -> None:
    """The tensors' bytes follow one another and fill the file."""
    at = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if tensor.begin != at:
            what = "overlaps with another one" if tensor.begin < at else "leaves a hole before it"
            raise SubmissionError(f"the tensor {name[:80]!r} {what}")
        at = tensor.end
    if at != data_bytes:
        raise SubmissionError(f"its tensors have {at:,} bytes, but {data_bytes:,} follow the header")

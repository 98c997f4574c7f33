"""Damage, blind and well informed: how files are changed for `benchmarks.fuzz_submissions`.

Blind changes die in the outermost layer that has a checksum. The informed ones know the format: they change one field
of a zip header, one value of a JSON text, one field of an ONNX graph, and then repair every digest around it.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import random
import struct
import warnings
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import onnx
from onnx import ModelProto, helper

from wisp.artifact import SEAL_KEY, seal

Random = random.Random
_KINDS = onnx.TensorProto
_KIND = ModelProto.DESCRIPTOR.fields[0]  # any field's descriptor: the kinds of fields are its constants

_NUMBERS = (0, 1, 2, 7, 255, 256, 65_535, 65_536, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**62, 2**63 - 1)
_TEXTS = (
    "",
    "..",
    "/etc/passwd",
    "a" * 5000,
    "\0",
    "\x1b[31m",
    "\ud7ff",
    "NaN",
    "종이",
    "wisp.sha256",
    "image",
    "probabilities",
)
_NAMES = (
    "../x.py",
    "/x.py",
    "C:\\x.py",
    "source/../../x.py",
    "source/x.py",
    "MODEL.onnx",
    "model.onnx/",
    "source/\u0301x.py",
    "con",
    "a" * 60_000,
)
# Offset and width of the fields of the three records of a zip file (APPNOTE.TXT 6.3.10).
_ZIP_FIELDS = {
    b"PK\3\4": ((4, 2), (6, 2), (8, 2), (10, 2), (12, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2)),
    b"PK\1\2": (
        *((4, 2), (6, 2), (8, 2), (10, 2), (12, 2), (14, 2), (16, 4), (20, 4), (24, 4)),
        *((28, 2), (30, 2), (32, 2), (34, 2), (36, 2), (38, 4), (42, 4)),
    ),
    b"PK\5\6": ((4, 2), (6, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2)),
}


# --- blind --------------------------------------------------------------------------------------------------------


def flip_bytes(data: bytes, chance: Random) -> bytes:
    """Change one to sixteen bytes."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 16)):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)


def cut(data: bytes, chance: Random) -> bytes:
    """Cut off the end, the beginning, or a piece in the middle."""
    first, second = sorted(chance.randrange(len(data)) for _ in range(2))
    return chance.choice((data[:first], data[first:], data[:first] + data[second:]))


def insert(data: bytes, chance: Random) -> bytes:
    """Put in something that is there already, or noise."""
    first, second = sorted(chance.randrange(len(data)) for _ in range(2))
    piece = data[first:second][:4096] if chance.random() < 0.5 else chance.randbytes(chance.randint(1, 64))
    at = chance.randrange(len(data) + 1)
    return data[:at] + piece + data[at:]


# --- zip files ----------------------------------------------------------------------------------------------------


def change_zip_field(data: bytes, chance: Random) -> bytes:
    """Give fields of the records of a zip file other values, mostly at the edges of what they can hold."""
    changed = bytearray(data)
    places = [
        (at + offset, width)
        for signature, fields in _ZIP_FIELDS.items()
        for at in _all(data, signature)
        for offset, width in fields
        if at + offset + width <= len(data)
    ]
    for _ in range(chance.randint(1, 3)):
        at, width = chance.choice(places)
        value = int.from_bytes(changed[at : at + width], "little")
        value = chance.choice((chance.choice(_NUMBERS), value + 1, value - 1, chance.getrandbits(8 * width)))
        changed[at : at + width] = (value % (1 << (8 * width))).to_bytes(width, "little")
    return bytes(changed)


def change_zip_members(data: bytes, chance: Random) -> bytes:
    """Write the members again: renamed, twice, packed otherwise, with other rights, extra fields or comments."""
    contents = _members(data)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, content in contents.items():
            for _ in range(2 if chance.random() < 0.1 else 1):
                info = zipfile.ZipInfo(chance.choice(_NAMES) if chance.random() < 0.15 else name)
                info.create_system, info.external_attr = chance.choice((0, 3, 19)), 0o100644 << 16
                if chance.random() < 0.15:
                    info.external_attr = chance.getrandbits(32)
                if chance.random() < 0.3:
                    info.compress_type = chance.choice((8, 12, 14))
                if chance.random() < 0.15:
                    info.extra = struct.pack("<HH", chance.choice((1, 0x5455, 0x7075, 0x9901)), 4) + bytes(4)
                if chance.random() < 0.1:
                    info.comment = b"comment"
                archive.writestr(info, content)
        if chance.random() < 0.1:
            archive.comment = chance.randbytes(20)
    return out.getvalue()


def repaired(contents: Mapping[str, bytes], *, digests: bool = True) -> bytes:
    """A zip file of these members whose manifest names them as they are now."""
    files = dict(contents)
    if digests and "manifest.json" in files:
        try:
            manifest = json.loads(files["manifest.json"])
            manifest["members"] = {
                name: {"size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
                for name, content in files.items()
                if name != "manifest.json"
            }
            files["manifest.json"] = json.dumps(manifest).encode()
        except (ValueError, TypeError, RecursionError):  # what was changed is the manifest itself
            pass
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)
    return out.getvalue()


def change_content(data: bytes, chance: Random) -> bytes:
    """Change one member as somebody would who knows what it holds; every digest fits."""
    contents = _members(data)
    name = chance.choice([name for name in contents if not name.endswith(".py")])
    change: Callable[[bytes, Random], bytes]
    if name.endswith(".json"):
        change = change_json
    elif name.endswith(".onnx"):
        change = change_onnx
    elif name.endswith(".safetensors"):
        change = change_tensors
    else:
        change = chance.choice((flip_bytes, insert))
    return repaired({**contents, name: change(contents[name], chance)})


# --- JSON ---------------------------------------------------------------------------------------------------------


def change_json(text: bytes, chance: Random) -> bytes:
    """Change one value of a JSON text, or its text in a way that few writers would."""
    if chance.random() < 0.15:
        return _odd_json(text, chance)
    value = json.loads(text)
    places = list(_places(value))
    for _ in range(chance.randint(1, 2)):
        holder, key = chance.choice(places)
        action = chance.random()
        try:
            if action < 0.15:
                del holder[key]
            elif action < 0.3 and isinstance(holder, dict):
                holder[chance.choice(_TEXTS)] = holder[key]
            elif action < 0.4 and isinstance(holder, list):
                holder.append(holder[key])
            else:
                holder[key] = _other_value(holder[key], chance)
        except (KeyError, IndexError):
            continue  # the first change took this place away
    return json.dumps(value, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")


def _other_value(value: Any, chance: Random) -> Any:
    if isinstance(value, int | float) and chance.random() < 0.6:
        return chance.choice((value + 1, value - 1, -value, value * 1.5, *_NUMBERS, 1e308, -1))
    if isinstance(value, str) and chance.random() < 0.5:
        return chance.choice((value[:-1], value + "x", value.upper(), *_TEXTS))
    return chance.choice(
        (None, True, False, 0, -1, 1.5, 10**30, "", "x", [], {}, [[]], {"a": {}}, [value] * 3)
    )


def _odd_json(text: bytes, chance: Random) -> bytes:
    return chance.choice(
        (
            b"[" * chance.choice((10, 100, 100_000)) + text,
            text.replace(b": ", b": NaN, ", 1),
            text.replace(b"{", b'{"format": 1, "format": 1,', 1),
            b'{"a":' + b"9" * chance.choice((20, 5000, 100_000)) + b"}",
            b"\xef\xbb\xbf" + text,
            text.decode().encode("utf-16"),
            b"[" + b"{}," * chance.choice((1000, 150_000)) + b"{}]",
            b'"' + b'\\"' * chance.choice((10, 100_000)),
            b"",
            b"null",
        )
    )


def _places(value: Any) -> Any:
    """Every (holder, key) of a JSON value; of long holders only the first few."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items)[:40]:
        yield value, key
        yield from _places(inner)


# --- safetensors --------------------------------------------------------------------------------------------------


def change_tensors(data: bytes, chance: Random) -> bytes:
    """Change the header of a safetensors file, its length or what follows it."""
    length = int.from_bytes(data[:8], "little")
    header, body = data[8 : 8 + length], data[8 + length :]
    action = chance.random()
    if action < 0.2:
        return chance.choice((flip_bytes, cut, insert))(data, chance)
    if action < 0.3:
        return chance.choice(_NUMBERS).to_bytes(8, "little") + data[8:]
    header = change_json(header, chance)
    return len(header).to_bytes(8, "little") + header + body


# --- ONNX ---------------------------------------------------------------------------------------------------------


def change_onnx(data: bytes, chance: Random) -> bytes:
    """Change a model as somebody would who knows protobuf or ONNX; mostly sealed again."""
    action = chance.random()
    if action < 0.15:
        body = data[:-81] if data[-81:].startswith(b"\x72\x4f") else data
        return seal(chance.choice((flip_bytes, cut, insert))(body, chance))
    model = onnx.load_model_from_string(data)
    for index in reversed(range(len(model.metadata_props))):
        if model.metadata_props[index].key == SEAL_KEY:
            del model.metadata_props[index]
    for _ in range(chance.randint(1, 3)):
        chance.choice(_MODEL_CHANGES)(model, chance)
    try:
        body = model.SerializeToString()
    except (ValueError, UnicodeError):  # a text that is none
        return data
    return seal(body) if chance.random() < 0.8 else body


def _change_field(model: ModelProto, chance: Random) -> None:
    """Any field of any message inside, found through its descriptor."""
    messages = list(_messages(model))
    message = chance.choice(messages)
    fields = message.DESCRIPTOR.fields
    field = chance.choice(fields)
    try:
        if field.type == _KIND.TYPE_MESSAGE:
            if field.is_repeated and len(getattr(message, field.name)):
                values = getattr(message, field.name)
                if chance.random() < 0.5:
                    del values[chance.randrange(len(values))]
                else:
                    values.append(values[chance.randrange(len(values))])
            elif not field.is_repeated:
                message.ClearField(field.name)
        elif field.is_repeated:
            values = getattr(message, field.name)
            value = _scalar(field, chance)
            if len(values) and chance.random() < 0.7:
                values[chance.randrange(len(values))] = value
            else:
                values.append(value)
        elif chance.random() < 0.2:
            message.ClearField(field.name)
        else:
            setattr(message, field.name, _scalar(field, chance))
    except (ValueError, TypeError):
        return  # out of the field's range


def _scalar(field: Any, chance: Random) -> Any:
    if field.type == _KIND.TYPE_STRING:
        return chance.choice(_TEXTS)
    if field.type == _KIND.TYPE_BYTES:
        return chance.choice((b"", b"\0" * 7, chance.randbytes(64)))
    if field.type in {_KIND.TYPE_FLOAT, _KIND.TYPE_DOUBLE}:
        return chance.choice((0.0, -1.0, 1e30, float("nan"), float("inf")))
    return chance.choice((*_NUMBERS, -1, -(2**31), -(2**63), chance.randrange(24)))


def _change_node(model: ModelProto, chance: Random) -> None:
    """Another operator, other wires, other numbers."""
    nodes = model.graph.node
    if not nodes:
        return
    node = chance.choice(nodes)
    action = chance.random()
    if action < 0.3:
        node.op_type = chance.choice(_OPERATORS)
    elif action < 0.5 and node.input:
        values = [name for other in nodes for name in (*other.input, *other.output)]
        node.input[chance.randrange(len(node.input))] = chance.choice(values)
    elif action < 0.9 and node.attribute:
        attribute = chance.choice(node.attribute)
        if attribute.ints:
            attribute.ints[chance.randrange(len(attribute.ints))] = chance.choice((*_NUMBERS, -1, -7))
        else:
            attribute.i = chance.choice((*_NUMBERS, -1))
    elif action < 0.95:
        nodes.append(node)
    else:
        nodes.remove(node)


def _change_weight(model: ModelProto, chance: Random) -> None:
    """Other shapes and types of the weights than their bytes have."""
    if not model.graph.initializer:
        return
    tensor = chance.choice(model.graph.initializer)
    action = chance.random()
    if action < 0.4 and tensor.dims:
        tensor.dims[chance.randrange(len(tensor.dims))] = chance.choice((*_NUMBERS, -1))
    elif action < 0.6:
        tensor.data_type = chance.randrange(26)
    elif action < 0.8:
        tensor.raw_data = tensor.raw_data[: chance.randrange(len(tensor.raw_data) + 1)]
    elif action < 0.9:
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", chance.choice(("/etc/passwd", "../x", "model.onnx"))
        tensor.data_location = onnx.TensorProto.EXTERNAL
    else:
        tensor.raw_data = chance.randbytes(len(tensor.raw_data))


def _grow(model: ModelProto, chance: Random) -> None:
    """Something that takes much time or memory when it is run, or to read."""
    size = chance.choice((2**20, 2**28, 2**31, 2**40, 2**62))
    action = chance.random()
    if action < 0.35:
        _add_everywhere(
            model,
            [
                helper.make_node("ConstantOfShape", ["grown_size"], ["grown"]),
                helper.make_node("ReduceMax", ["grown"], ["grown_value"], keepdims=0),
            ],
            size,
        )
    elif action < 0.7:
        scalars = [
            helper.make_tensor_value_info(name, kind, [])
            for name, kind in (("turn", _KINDS.INT64), ("go_on", _KINDS.BOOL), ("before", _KINDS.FLOAT))
        ]
        results = [
            helper.make_tensor_value_info("still", _KINDS.BOOL, []),
            helper.make_tensor_value_info("after", _KINDS.FLOAT, []),
        ]
        body = [
            helper.make_node("Identity", ["go_on"], ["still"]),
            helper.make_node("Identity", ["before"], ["after"]),
        ]
        zero = helper.make_node("Constant", [], ["grown_zero"], value_float=0.0)
        inner = helper.make_graph(body, "body", scalars, results)
        loop = helper.make_node("Loop", ["grown_size", "", "grown_zero"], ["grown_value"], body=inner)
        _add_everywhere(model, [zero, loop], size)
    elif action < 0.85 and model.graph.node:
        model.graph.node.extend([model.graph.node[0]] * chance.choice((100, 20_000)))
    else:
        inner = helper.make_graph([], "leaf", [], [])
        for _ in range(chance.choice((5, 60))):
            node = helper.make_node("If", ["grown"], [], then_branch=inner, else_branch=inner)
            inner = helper.make_graph([node], "branch", [], [])
            if inner.ByteSize() > 1 << 20:
                break
        model.graph.node.extend(inner.node)


def _add_everywhere(model: ModelProto, nodes: list[Any], size: int) -> None:
    """Nodes that make `grown_value` out of `grown_size`, added to what the last node reads: none can be left out."""
    if not model.graph.node or not model.graph.node[-1].input:
        return
    last = model.graph.node[-1]
    model.graph.initializer.append(helper.make_tensor("grown_size", _KINDS.INT64, [1], [size]))
    added = helper.make_node("Add", [last.input[0], "grown_value"], ["grown_sum"])
    last.input[0] = "grown_sum"
    kept = [
        type(node).FromString(node.SerializeToString())
        for node in (*model.graph.node[:-1], *nodes, added, last)
    ]
    del model.graph.node[:]
    model.graph.node.extend(kept)


def _change_metadata(model: ModelProto, chance: Random) -> None:
    """Another value of what the model says about itself."""
    entry = chance.choice(model.metadata_props)
    with contextlib.suppress(ValueError):  # texts that are no JSON any more, or no text
        value = [json.loads(entry.value)]
        changed = change_json(json.dumps(value).encode(), chance) if chance.random() < 0.5 else b""
        entry.value = changed.decode() if changed else json.dumps(_other_value(value[0], chance))


def _messages(message: Any, depth: int = 0) -> Any:
    yield message
    if depth < 8:
        for field, value in message.ListFields():
            if field.type == _KIND.TYPE_MESSAGE:
                for inner in list(value)[:60] if field.is_repeated else [value]:
                    yield from _messages(inner, depth + 1)


def _all(data: bytes, signature: bytes) -> Any:
    at = data.find(signature)
    while at >= 0:
        yield at
        at = data.find(signature, at + 1)


def _members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


_OPERATORS = tuple(sorted({schema.name for schema in onnx.defs.get_all_schemas() if not schema.domain}))
_MODEL_CHANGES = (_change_field, _change_field, _change_node, _change_weight, _grow, _change_metadata)

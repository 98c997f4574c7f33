"""Texts that are put together of constants: names in disguise."""

from __future__ import annotations

import ast
from contextlib import suppress

_LONGEST_TEXT = 10_000
_DEEPEST = 12
_TEXT_METHODS = frozenset(
    ["encode", "format", "lower", "removeprefix", "removesuffix", "replace", "strip", "upper", "swapcase"]
)
_BYTES_METHODS = frozenset(["decode", "hex"])


def fold(node: ast.AST, depth: int = 0) -> str | bytes | int | None:
    """The value of an expression of constants, as far as names can be made of it; None where it is not constant."""
    if depth > _DEEPEST:
        return None
    value: str | bytes | int | None = None
    if isinstance(node, ast.Constant):
        value = node.value if isinstance(node.value, str | bytes | int) else None
    elif isinstance(node, ast.BinOp):
        value = _operation(node, depth)
    elif isinstance(node, ast.JoinedStr):
        parts = [fold(part, depth + 1) for part in node.values]
        value = "".join(map(str, parts)) if None not in parts else None
    elif isinstance(node, ast.FormattedValue) and node.format_spec is None:
        value = fold(node.value, depth + 1)
    elif isinstance(node, ast.Subscript):
        value = _slice(node, depth)
    elif isinstance(node, ast.Call):
        value = _method(node, depth)
    return None if isinstance(value, str | bytes) and len(value) > _LONGEST_TEXT else value


def _operation(node: ast.BinOp, depth: int) -> str | bytes | int | None:
    left, right = fold(node.left, depth + 1), fold(node.right, depth + 1)
    if isinstance(node.op, ast.Add):
        return _added(left, right)
    if isinstance(node.op, ast.Mod) and isinstance(left, str) and isinstance(right, str | int):
        try:
            return left % right
        except (TypeError, ValueError):
            return None
    if (
        isinstance(node.op, ast.Mult)
        and isinstance(left, str)
        and isinstance(right, int)
        and 0 <= right < 100
    ):
        return left * right
    return None


def _added(left: str | bytes | int | None, right: str | bytes | int | None) -> str | bytes | int | None:
    if isinstance(left, str) and isinstance(right, str):
        return left + right
    if isinstance(left, bytes) and isinstance(right, bytes):
        return left + right
    return left + right if isinstance(left, int) and isinstance(right, int) else None


def _slice(node: ast.Subscript, depth: int) -> str | bytes | int | None:
    value = fold(node.value, depth + 1)
    if not isinstance(value, str | bytes):
        return None
    if isinstance(node.slice, ast.Slice):
        bounds = [
            None if part is None else _number(part)
            for part in (node.slice.lower, node.slice.upper, node.slice.step)
        ]
        try:
            return value[slice(*bounds)]
        except (TypeError, ValueError):
            return None
    index = _number(node.slice)
    try:
        return None if index is None else value[index]
    except IndexError:
        return None


def _number(node: ast.AST) -> int | None:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = _number(node.operand)
        return None if inner is None else -inner
    value = fold(node)
    return value if isinstance(value, int) else None


def _method(node: ast.Call, depth: int) -> str | bytes | int | None:
    """`"".join(...)`, `.replace`, `.decode`, `chr`, and the like, of constants."""
    arguments = [fold(argument, depth + 1) for argument in node.args]
    if node.keywords or not isinstance(node.func, ast.Attribute):
        return _builtin(node.func.id, arguments) if isinstance(node.func, ast.Name) else None
    owner, name = fold(node.func.value, depth + 1), node.func.attr
    if name == "join" and isinstance(owner, str) and len(node.args) == 1:
        return _join(owner, node.args[0], depth)
    allowed = _TEXT_METHODS if isinstance(owner, str) else _BYTES_METHODS if isinstance(owner, bytes) else ()
    value = None
    if name in allowed and None not in arguments:
        with suppress(TypeError, ValueError, LookupError):
            value = getattr(owner, name)(*arguments)
    return value if isinstance(value, str | bytes) else None


def _builtin(name: str, arguments: list[str | bytes | int | None]) -> str | None:
    value = arguments[0] if len(arguments) == 1 else None
    if name == "chr" and isinstance(value, int) and 0 <= value < 0x110000:
        return chr(value)
    return str(value) if name == "str" and isinstance(value, str | int) else None


def _join(separator: str, node: ast.AST, depth: int) -> str | None:
    items: list[str | bytes | int | None] = []
    if isinstance(node, ast.List | ast.Tuple):
        items = [fold(item, depth + 1) for item in node.elts]
    else:
        whole = fold(node, depth + 1)
        items = list(whole) if isinstance(whole, str) else [None]
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "reversed"
            and node.args
        ):
            inner = fold(node.args[0], depth + 1)
            items = list(inner[::-1]) if isinstance(inner, str) else [None]
    return separator.join(map(str, items)) if None not in items else None

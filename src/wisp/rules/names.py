"""What the names in a Python file stand for, read from its syntax tree: aliases, imports, names put together.

Nothing is executed. A name may stand for several things (two imports of one name in two functions): all are kept.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from wisp.errors import ModelError
from wisp.rules.constants import fold

_DEEPEST = 12
_BUILTINS = frozenset(
    [
        "__builtins__",
        "__import__",
        "__loader__",
        "breakpoint",
        "compile",
        "delattr",
        "eval",
        "exec",
        "getattr",
        "globals",
        "id",
        "locals",
        "open",
        "setattr",
        "vars",
    ]
)


@dataclass(frozen=True)
class Import:
    """One imported module, by its full name, and the line of the import. `names` are what is taken from it."""

    module: str
    line: int
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class SourceFile:
    """A Python file as text and syntax tree.

    Attributes:
        path: as findings show it.
        module: the dotted name under which its neighbours import it.
        text: its content.
        is_package: whether it is the `__init__.py` of a package.
        name: its path inside the folder of the source.
    """

    path: str
    module: str
    text: str
    is_package: bool = False
    name: str = "model.py"
    tree: ast.Module = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        try:
            tree = ast.parse(self.text, self.path)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            reason = error.msg if isinstance(error, SyntaxError) else type(error).__name__
            line = f":{error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
            raise ModelError(f"{self.path}{line}: not Python ({reason})") from error
        object.__setattr__(self, "tree", tree)


class Names:
    """The names of one file.

    Args:
        file: the file.
        others: the names of the files beside it, by module; a name imported from one of them is looked up there.
    """

    def __init__(self, file: SourceFile, others: Mapping[str, Names] | None = None) -> None:
        self.file = file
        self._others = {} if others is None else others
        self._meanings: defaultdict[str, set[str]] = defaultdict(set)
        self.imports = tuple(self._read_imports())
        for _ in range(3):  # aliases of aliases
            self._read_assignments()

    def resolve(self, node: ast.AST, depth: int = 0) -> frozenset[str]:
        """The dotted names that an expression may stand for: `F.conv2d` gives `torch.nn.functional.conv2d`."""
        found: frozenset[str] = frozenset()
        if depth > _DEEPEST:
            return found
        match node:
            case ast.Name(name):
                found = frozenset(self._meanings.get(name, ()))
                if not found and name in _BUILTINS:
                    found = frozenset([f"builtins.{name}"])
                found = self._followed(found, depth)
            case ast.Attribute(base, attribute):
                found = self._joined(base, attribute, depth)
            case ast.NamedExpr():
                found = self.resolve(node.value, depth + 1)
            case ast.IfExp():
                found = self.resolve(node.body, depth + 1) | self.resolve(node.orelse, depth + 1)
            case ast.Subscript():
                found = self._item(node, depth)
            case ast.Call():
                found = self._called(node, depth)
        return found

    def imported_by_call(self, node: ast.Call) -> ast.expr | None:
        """The name (an expression) of the module that a call imports: `importlib.import_module(NAME)` and its like."""
        for function in self.resolve(node.func):
            if function in _IMPORTERS:
                position = _IMPORTERS[function]
                named = next((word.value for word in node.keywords if word.arg in {"name", "mod_name"}), None)
                return node.args[position] if len(node.args) > position else named
        return None

    def _joined(self, base: ast.AST, attribute: str, depth: int) -> frozenset[str]:
        found = frozenset(f"{name}.{attribute}" for name in self.resolve(base, depth + 1))
        return self._followed(found, depth)

    def _item(self, node: ast.Subscript, depth: int) -> frozenset[str]:
        """`sys.modules["x"]`, `vars(x)["y"]`, `x.__dict__["y"]`, `globals()["y"]`."""
        key = fold(node.slice)
        base = node.value
        held = self.resolve(base, depth + 1)
        found: frozenset[str] = frozenset()
        if not isinstance(key, str):
            return found
        if "sys.modules" in held:
            found = frozenset([key])
        elif "builtins.__builtins__" in held:
            found = frozenset([f"builtins.{key}"])
        elif isinstance(base, ast.Attribute) and base.attr == "__dict__":
            found = self._joined(base.value, key, depth + 1)
        elif isinstance(base, ast.Call):
            function = self.resolve(base.func, depth + 1)
            if function & {"builtins.globals", "builtins.locals"}:
                found = self.resolve(ast.Name(key), depth + 1)
            elif "builtins.vars" in function and base.args:
                found = self._joined(base.args[0], key, depth + 1)
        return found

    def _called(self, node: ast.Call, depth: int) -> frozenset[str]:
        function = self.resolve(node.func, depth + 1)
        if "builtins.getattr" in function and len(node.args) > 1:
            name = fold(node.args[1])
            return self._joined(node.args[0], name, depth + 1) if isinstance(name, str) else frozenset()
        named = self.imported_by_call(node)
        if named is not None and isinstance(name := fold(named), str):
            return frozenset([name.partition(".")[0] if "builtins.__import__" in function else name])
        if "functools.partial" in function and node.args:
            return self.resolve(node.args[0], depth + 1)
        return frozenset()

    def _followed(self, names: frozenset[str], depth: int) -> frozenset[str]:
        """Names that a neighbouring file holds, looked up there."""
        found = set(names)
        for name in names:
            module, _, attribute = name.rpartition(".")
            other = self._others.get(module)
            if other is not None and other is not self and depth <= _DEEPEST:
                found |= other.resolve(ast.Name(attribute), depth + 1)
        return frozenset(found)

    def _read_imports(self) -> Iterator[Import]:
        for node in ast.walk(self.file.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    name = alias.name if alias.asname else alias.name.partition(".")[0]
                    self._meanings[alias.asname or name].add(name)
                    yield Import(alias.name, node.lineno)
            elif isinstance(node, ast.ImportFrom):
                module = self._absolute(node)
                for alias in node.names:
                    self._meanings[alias.asname or alias.name].add(f"{module}.{alias.name}")
                yield Import(module, node.lineno, tuple(alias.name for alias in node.names))

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        package = self.file.module.split(".")
        kept = package[: len(package) - node.level + self.file.is_package]
        return ".".join([*kept, *([node.module] if node.module else [])])

    def _read_assignments(self) -> None:
        for node in ast.walk(self.file.tree):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    self._assign(target, node.value)
            elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
                self._assign(node.target, node.value)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                arguments = [*node.args.posonlyargs, *node.args.args]
                defaults = node.args.defaults
                pairs = [*zip(arguments[len(arguments) - len(defaults) :], defaults, strict=True)]
                pairs += [
                    (argument, default)
                    for argument, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
                    if default is not None
                ]
                for argument, default in pairs:
                    self._meanings[argument.arg] |= self.resolve(default)

    def _assign(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Name):
            self._meanings[target.id] |= self.resolve(value)
        elif isinstance(target, ast.Tuple | ast.List) and isinstance(value, ast.Tuple | ast.List):
            for part, item in zip(target.elts, value.elts, strict=False):
                self._assign(part, item)


# Functions that import a module, and which argument names it.
_IMPORTERS = {
    "importlib.import_module": 0,
    "importlib.__import__": 0,
    "importlib.util.find_spec": 0,
    "builtins.__import__": 0,
    "runpy.run_module": 0,
    "pkgutil.resolve_name": 0,
    "imp.load_module": 0,
}

"""Which libraries a source imports, however it does so, read from the syntax trees of all its files."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from wisp.errors import ModelError
from wisp.records import Violation
from wisp.rules.constants import fold
from wisp.rules.findings import EXTERNAL_LIBRARIES, finding
from wisp.rules.names import Names, SourceFile

MODEL_LIBRARIES = frozenset(["torch", "torchvision"])
# To read and prepare photos; not for the model itself. kornia is not among them: it is made of layers.
DATA_LIBRARIES = frozenset(
    ["albumentations", "cv2", "imageio", "numpy", "pandas", "PIL", "scipy", "skimage", "tifffile", "tqdm"]
)
# Of wisp's own: layers and networks, and the records that they need.
OWN_PARTS = ("wisp.models", "wisp.errors")
_FIX = "write the layers yourself with torch.nn; weights of other libraries may be copied into them"
# Parts of torch that bring in code from elsewhere.
_LOADERS = MappingProxyType(
    {
        "torch.hub.load": "loads a model from elsewhere",
        "torch.hub.load_state_dict_from_url": "fetches weights while it runs",
        "torch.utils.model_zoo": "fetches weights while it runs",
        "torch.utils.cpp_extension": "compiles code that no counter sees",
        "torch.ops.load_library": "loads code that no counter sees",
        "torch.classes.load_library": "loads code that no counter sees",
        "torch.jit.load": "loads a compiled model",
        "torch.load": "unpickles a file, which runs code",
        "torch.package": "loads code from an archive",
        "torch.export.load": "loads a compiled model",
        "torch._inductor": "loads compiled code",
        "runpy.run_path": "runs a file",
        "importlib.util.spec_from_file_location": "loads a file",
        "importlib.machinery.SourceFileLoader": "loads a file",
        "importlib.machinery.ExtensionFileLoader": "loads code that no counter sees",
        "importlib.reload": "loads a module anew",
        "zipimport": "loads code from an archive",
        "sys.meta_path": "changes what imports mean",
        "sys.path_hooks": "changes what imports mean",
        "site.addsitedir": "changes what imports mean",
    }
)
_RUNNERS = frozenset(["builtins.exec", "builtins.eval", "builtins.compile"])
_DEEPEST_TEXT = 3


def read_imports(files: Sequence[SourceFile], names: Sequence[Names]) -> Iterator[Violation]:
    """What is imported that a model may not import, with the line of it."""
    local = local_modules(files)
    for file, known in zip(files, names, strict=True):
        top = file.module.partition(".")[0]
        if top in MODEL_LIBRARIES | DATA_LIBRARIES | sys.stdlib_module_names and file.module != "model":
            yield _violation(file.path, f"has the name of a library, {top}", "rename the file")
        yield from _of_file(known, local, file.path, 0)


def local_modules(files: Sequence[SourceFile]) -> frozenset[str]:
    """The modules that the files are, and the packages that they lie in."""
    found = {file.module for file in files}
    return frozenset(found | {name.rpartition(".")[0] for name in found if "." in name})


def data_libraries_in_layers(names: Sequence[Names]) -> Iterator[Violation]:
    """Libraries for data, used inside of a layer."""
    layers = layer_classes(names)
    for known in names:
        for node in ast.walk(known.file.tree):
            if not isinstance(node, ast.ClassDef) or (known.file.module, node.name) not in layers:
                continue
            for method in node.body:
                yield from _used_in(method, node.name, known)


def _used_in(method: ast.stmt, owner: str, known: Names) -> Iterator[Violation]:
    is_setup = not isinstance(method, ast.FunctionDef) or method.name == "__init__"
    seen: set[int] = set()
    for node in ast.walk(method):
        if not isinstance(node, ast.Name) or node.lineno in seen:
            continue
        used = {name.partition(".")[0] for name in known.resolve(node)} & DATA_LIBRARIES
        if used:
            seen.add(node.lineno)
            yield finding(
                EXTERNAL_LIBRARIES,
                "warning" if is_setup else "violation",
                f"{known.file.path}:{node.lineno}",
                f"{owner} uses {min(used)}: such libraries are for data, not for the model",
                "use torch, or the math module",
            )


def layer_classes(names: Sequence[Names]) -> frozenset[tuple[str, str]]:
    """Classes (module, name) that are torch modules, by their bases."""
    classes = {
        (known.file.module, node.name): (known, node)
        for known in names
        for node in ast.walk(known.file.tree)
        if isinstance(node, ast.ClassDef)
    }
    found: set[tuple[str, str]] = set()
    while True:
        new = {
            key
            for key, (known, node) in classes.items()
            if key not in found and any(_is_module(base, known, found) for base in node.bases)
        }
        if not new:
            return frozenset(found)
        found |= new


def _is_module(base: ast.expr, known: Names, found: set[tuple[str, str]]) -> bool:
    if isinstance(base, ast.Name) and (known.file.module, base.id) in found:
        return True
    return any(
        name.startswith(("torch.nn.", "torchvision.")) or tuple(name.rsplit(".", 1)) in found
        for name in known.resolve(base)
    )


def _of_file(known: Names, local: frozenset[str], path: str, depth: int) -> Iterator[Violation]:
    for item in known.imports:
        yield from _imported(item.module, f"{path}:{item.line}", local)
        if item.module and item.names:  # `from package import module`
            for name in item.names:
                if f"{item.module}.{name}" in _LOADERS:
                    yield _loader(f"{item.module}.{name}", f"{path}:{item.line}")
    for node in ast.walk(known.file.tree):
        if isinstance(node, ast.Call):
            yield from _called(node, known, local, path, depth)
        elif isinstance(node, ast.Subscript) and "sys.modules" in known.resolve(node.value):
            yield from _named_at_run_time(node.slice, f"{path}:{node.lineno}", local)
        elif isinstance(node, ast.Attribute):
            for name in known.resolve(node):
                if name in _LOADERS or name.partition(".")[0] == "zipimport":
                    yield _loader(name, f"{path}:{node.lineno}")


def _imported(module: str, where: str, local: frozenset[str]) -> Iterator[Violation]:
    top = module.partition(".")[0]
    if module in local or top in {name.partition(".")[0] for name in local}:
        return
    if module.startswith("wisp."):
        if not (module + ".").startswith(tuple(f"{part}." for part in OWN_PARTS)):
            yield _violation(where, f"imports {module}: of wisp, a model may use wisp.models alone")
    elif top in _LOADERS or module in _LOADERS:
        yield _loader(module, where)
    elif top not in MODEL_LIBRARIES | DATA_LIBRARIES | sys.stdlib_module_names:
        yield _violation(
            where,
            f"imports {module or 'its own package'}, which is neither torch, torchvision nor Python's own",
        )


def _called(
    node: ast.Call, known: Names, local: frozenset[str], path: str, depth: int
) -> Iterator[Violation]:
    where = f"{path}:{node.lineno}"
    named = known.imported_by_call(node)
    if named is not None:
        yield from _named_at_run_time(named, where, local)
    functions = known.resolve(node.func)
    if functions & _RUNNERS and node.args:
        yield from _run_text(node.args[0], where, local, path, depth)


def _named_at_run_time(node: ast.expr, where: str, local: frozenset[str]) -> Iterator[Violation]:
    name = fold(node)
    if not isinstance(name, str):
        yield _violation(where, "imports a module whose name is made while it runs", "import it by its name")
    else:
        yield from _imported(name.lstrip("."), where, local)


def _run_text(
    node: ast.expr, where: str, local: frozenset[str], path: str, depth: int
) -> Iterator[Violation]:
    text = fold(node)
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    if isinstance(text, str) and depth < _DEEPEST_TEXT:
        try:
            inner = SourceFile(path, "", text)
        except ModelError:
            yield _violation(where, "runs a text that is not Python", "write it as code")
            return
        line = where.rpartition(":")[2]
        for item in _of_file(Names(inner), local, path, depth + 1):
            yield Violation(item.rule, item.severity, item.path, int(line), item.message, item.fix)
        return
    yield _violation(
        where, "runs a text that is made while it runs (exec, eval, compile)", "write it as code"
    )


def _loader(name: str, where: str) -> Violation:
    reason = next(
        (why for key, why in _LOADERS.items() if name == key or name.startswith(f"{key}.")), "loads code"
    )
    return _violation(
        where, f"{name} {reason}", "keep the model in its source, and its weights in the weights file"
    )


def _violation(where: str, message: str, fix: str = _FIX) -> Violation:
    return finding(EXTERNAL_LIBRARIES, "violation", where, message, fix)


def loaded_libraries(modules: Mapping[str, str], local: frozenset[str]) -> Iterator[Violation]:
    """Libraries that a source brought in when it ran.

    Args:
        modules: {top-level name: `file:line` that first imported it}.
        local: modules that are part of the source.
    """
    for name, where in sorted(modules.items()):
        yield from _imported(name, where, local)

"""What a source says before it is run: functional work, subclasses of layers, questions about who is looking."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from types import MappingProxyType

from wisp.records import Violation
from wisp.rules.constants import fold
from wisp.rules.findings import HIDDEN_COMPUTATION, finding
from wisp.rules.libraries import layer_classes
from wisp.rules.names import Names, SourceFile

_LAYERS = frozenset(
    f"{kind}{dimensions}d"
    for kind in (
        "Conv",
        "ConvTranspose",
        "BatchNorm",
        "MaxPool",
        "AvgPool",
        "AdaptiveAvgPool",
        "AdaptiveMaxPool",
    )
    for dimensions in (1, 2, 3)
) | {"Linear", "RNN", "GRU", "LSTM", "RNNCell", "GRUCell", "LSTMCell", "Upsample", "MultiheadAttention"}
_PRODUCTS = frozenset(
    """
    addbmm addmm addmv baddbmm bilinear bmm cdist chain_matmul conv1d conv2d conv3d conv_tbc conv_transpose1d
    conv_transpose2d conv_transpose3d convolution dot einsum grid_sample inner interpolate kron linear matmul mm
    multi_head_attention_forward mv outer scaled_dot_product_attention tensordot upsample vdot vecdot
    """.split()  # noqa: SIM905  (a list of words reads best as words)
)
_TORCH = ("torch.", "torch.nn.functional.", "torch.functional.", "torch.linalg.", "torch.Tensor.")
_OPERATORS = ("torch.ops.", "torch._C._nn.", "torch._VF.", "torch._C._VariableFunctions.")
_METHODS = frozenset(["addbmm", "addmm", "addmv", "baddbmm", "bmm", "matmul", "mm", "mv"])
_WATCHERS = frozenset(
    [
        "torch.jit.is_tracing",
        "torch.jit.is_scripting",
        "torch.compiler.is_exporting",
        "torch.compiler.is_compiling",
        "torch.compiler.is_dynamo_compiling",
        "torch.onnx.is_in_onnx_export",
        "torch.is_grad_enabled",
        "torch.is_inference_mode_enabled",
        "torch._C._get_tracing_state",
        "torch._dynamo.is_compiling",
        "builtins.id",
    ]
)
_WATCHER_PARTS = (
    "torch.utils._python_dispatch",
    "torch._subclasses",
    "torch.overrides",
    "torch.fx.experimental",
)
_SURROUNDINGS = (
    "time.",
    "datetime.",
    "platform.",
    "os.environ",
    "os.getenv",
    "os.getpid",
    "sys.argv",
    "socket.",
)
_WATCHER_ATTRIBUTES = frozenset(
    ["_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "data_ptr", "untyped_storage", "_version"]
)
_HOOKS = frozenset(
    [
        "register_forward_hook",
        "register_forward_pre_hook",
        "register_module_forward_hook",
        "register_module_forward_pre_hook",
        "register_parametrization",
        "spectral_norm",
        "weight_norm",
    ]
)
# What no model needs, and what a model that deceives its judge does need.
_FORBIDDEN = MappingProxyType(
    {
        "sys._getframe": "looks at its callers",
        "sys._current_frames": "looks at its callers",
        "inspect.stack": "looks at its callers",
        "inspect.trace": "looks at its callers",
        "inspect.currentframe": "looks at its callers",
        "inspect.getouterframes": "looks at its callers",
        "traceback.extract_stack": "looks at its callers",
        "traceback.format_stack": "looks at its callers",
        "traceback.walk_stack": "looks at its callers",
        "sys.settrace": "watches the judge",
        "sys.setprofile": "watches the judge",
        "sys.gettrace": "asks whether it is watched",
        "sys.getprofile": "asks whether it is watched",
        "sys.addaudithook": "watches the judge",
        "sys.modules": "reaches into other modules",
        "gc.get_objects": "looks for the judge's objects",
        "gc.get_referrers": "looks for the judge's objects",
        "gc.get_referents": "looks for the judge's objects",
        "os._exit": "ends the process that judges it",
        "os.abort": "ends the process that judges it",
        "os.kill": "ends the process that judges it",
        "os.fork": "starts another process",
        "os.system": "starts another process",
        "os.popen": "starts another process",
        "builtins.__builtins__": "reaches into Python itself",
        "builtins.__loader__": "reaches into Python itself",
        "builtins.breakpoint": "stops the judge",
    }
)
_FORBIDDEN_ATTRIBUTES = MappingProxyType(
    {
        "f_back": "looks at its callers",
        "f_locals": "looks at its callers",
        "f_globals": "looks at its callers",
        "tb_frame": "looks at its callers",
        "gi_frame": "looks at its callers",
        "cr_frame": "looks at its callers",
        "__globals__": "reaches into other modules",
        "__closure__": "reaches into other functions",
        "__code__": "reaches into other functions",
        "__subclasses__": "reaches into other modules",
    }
)
_FORBIDDEN_MODULES = MappingProxyType(
    {
        "_thread": "works outside of torch",
        "_ctypes": "runs code that no counter sees",
        "builtins": "reaches into Python itself",
        "code": "runs code that no reader sees",
        "ctypes": "runs code that no counter sees",
        "dill": "runs code that no reader sees",
        "marshal": "runs code that no reader sees",
        "mmap": "shares memory with others",
        "pickle": "runs code that no reader sees",
        "pty": "starts another process",
        "shelve": "runs code that no reader sees",
        "socket": "talks to others",
        "subprocess": "starts another process",
    }
)
_DOUBTFUL_MODULES = frozenset(["asyncio", "concurrent", "multiprocessing", "signal", "threading", "time"])
_OTHERS = ("torch.", "wisp.", "builtins.", "sys.")
_SETTINGS = ("torch.backends.", "sys.path")
_UNCONFIRMED = "make sure that all work is done by torch's layers, for every image alike"


def read_source(files: Sequence[SourceFile], names: Sequence[Names]) -> Iterator[Violation]:
    """Findings of one reading of every file, without running anything.

    What is a violation whatever it does is one; what only may hide work is a warning, for the runs to confirm.
    """
    inside = model_code(names)
    for file, known in zip(files, names, strict=True):
        yield from _imports(known)
        for node in ast.walk(file.tree):
            if isinstance(node, ast.ClassDef):
                yield from _class(node, known)
            elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
                yield _warning(file, node, "a product of matrices (@) outside of any layer")
            elif isinstance(node, ast.Name | ast.Attribute | ast.Call | ast.Subscript):
                yield from _reference(node, known, inside)
            if isinstance(node, ast.Assign | ast.AugAssign | ast.Delete | ast.Call):
                yield from _patches(node, known)


def model_code(names: Sequence[Names]) -> frozenset[ast.AST]:
    """Every node of what a network may run: the methods of its layers, `build`, and functions that these name."""
    layers = layer_classes(names)
    functions: dict[str, list[ast.AST]] = {}
    waiting: list[ast.AST] = []
    for known in names:
        for node in ast.walk(known.file.tree):
            if isinstance(node, ast.ClassDef) and (known.file.module, node.name) in layers:
                waiting.append(node)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                functions.setdefault(node.name, []).append(node)
    waiting += functions.pop("build", [])
    found: set[ast.AST] = set()
    while waiting:
        for node in ast.walk(waiting.pop()):
            found.add(node)
            name = (
                node.id
                if isinstance(node, ast.Name)
                else node.attr
                if isinstance(node, ast.Attribute)
                else ""
            )
            waiting += functions.pop(name, [])
    return frozenset(found)


def _imports(known: Names) -> Iterator[Violation]:
    for item in known.imports:
        top = item.module.partition(".")[0]
        if top in _FORBIDDEN_MODULES:
            yield finding(
                HIDDEN_COMPUTATION,
                "violation",
                f"{known.file.path}:{item.line}",
                f"imports {item.module}: it {_FORBIDDEN_MODULES[top]}",
                "a model needs torch alone",
            )
        elif top in _DOUBTFUL_MODULES:
            yield finding(
                HIDDEN_COMPUTATION,
                "warning",
                f"{known.file.path}:{item.line}",
                f"imports {item.module}, which no model needs",
                _UNCONFIRMED,
            )


def _class(node: ast.ClassDef, known: Names) -> Iterator[Violation]:
    for base in node.bases:
        layers = {name for name in known.resolve(base) if _is_layer(name)}
        if not layers:
            continue
        own = [item.name for item in node.body if isinstance(item, ast.FunctionDef)]
        replaced = [name for name in own if name in {"forward", "_conv_forward", "__call__", "_call_impl"}]
        what = f", with a {replaced[0]} of its own" if replaced else ""
        yield _warning(
            known.file,
            node,
            f"{node.name} is a subclass of {min(layers)}{what}: the counter knows torch's own types only",
        )


def _is_layer(name: str) -> bool:
    return name.startswith("torch.nn.") and name.rpartition(".")[2] in _LAYERS


def _reference(node: ast.expr, known: Names, inside: frozenset[ast.AST]) -> Iterator[Violation]:
    meanings = known.resolve(node)
    for name in sorted(meanings):
        reason = _FORBIDDEN.get(name)
        if reason is not None:
            yield _violation(known.file, node, f"{name} {reason}")
        elif _is_product(name):
            yield _warning(known.file, node, f"{name} computes outside of any layer")
        elif name in _WATCHERS or name.startswith(_WATCHER_PARTS):
            yield _warning(known.file, node, f"{name} asks who is looking")
        elif name.startswith(_SURROUNDINGS):
            tell = _violation if node in inside else _warning
            yield tell(known.file, node, f"{name} asks for the time or the surroundings")
    if isinstance(node, ast.Attribute):
        yield from _attribute(node, known, bool(meanings))


def _is_product(name: str) -> bool:
    base = name.rpartition(".")[2]
    if name.startswith(_OPERATORS):
        return name.count(".") >= 3 or base in _PRODUCTS
    return name.startswith("torch.fft.") or (base in _PRODUCTS and name.startswith(_TORCH))


def _attribute(node: ast.Attribute, known: Names, is_known: bool) -> Iterator[Violation]:
    name = node.attr
    if name in _FORBIDDEN_ATTRIBUTES:
        yield _violation(known.file, node, f".{name} {_FORBIDDEN_ATTRIBUTES[name]}")
    elif name in _WATCHER_ATTRIBUTES:
        yield _warning(known.file, node, f".{name} asks who is looking, or which image it is")
    elif name in _HOOKS:
        yield _warning(known.file, node, f"{name}: a hook can do work that the counter does not see")
    elif name in _METHODS and not is_known:
        yield _warning(known.file, node, f".{name} computes outside of any layer")


def _patches(node: ast.Assign | ast.AugAssign | ast.Delete | ast.Call, known: Names) -> Iterator[Violation]:
    """Changes of what belongs to others: by assignment, or by `setattr` and `delattr`."""
    if isinstance(node, ast.Call):
        is_change = known.resolve(node.func) & {"builtins.setattr", "builtins.delattr"}
        name = fold(node.args[1]) if is_change and len(node.args) > 1 else None
        targets: list[ast.expr] = [ast.Attribute(node.args[0], name)] if isinstance(name, str) else []
    else:
        targets = [node.target] if isinstance(node, ast.AugAssign) else node.targets
    for target in targets:
        if not isinstance(target, ast.Attribute | ast.Subscript):
            continue
        for name in known.resolve(target):
            if name.startswith(_OTHERS) and not name.startswith(_SETTINGS):
                yield _violation(known.file, node, f"changes {name}, which is not its own")


def _violation(file: SourceFile, node: ast.stmt | ast.expr, message: str) -> Violation:
    return finding(
        HIDDEN_COMPUTATION,
        "violation",
        f"{file.path}:{node.lineno}",
        message,
        "a model needs none of it: remove it",
    )


def _warning(file: SourceFile, node: ast.stmt | ast.expr, message: str) -> Violation:
    return finding(HIDDEN_COMPUTATION, "warning", f"{file.path}:{node.lineno}", message, _UNCONFIRMED)

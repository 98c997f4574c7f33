"""What is found by reading alone: names behind aliases, imports in disguise, and what no model needs."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from collection import HONEST
from hypothesis import given
from hypothesis import strategies as st

from wisp.errors import ModelError
from wisp.records import Violation
from wisp.rules.constants import fold
from wisp.rules.libraries import data_libraries_in_layers, loaded_libraries, local_modules, read_imports
from wisp.rules.names import Names, SourceFile
from wisp.rules.reading import read_source
from wisp.rules.target import find_files, read_target

_START = """
import importlib, os, sys, runpy
import torch
from torch import nn
from torch import nn as layers
import torch.nn.functional as F
"""


def _names(text: str, module: str = "model") -> Names:
    return Names(SourceFile("model.py", module, text))


def _read(text: str) -> list[Violation]:
    known = _names(text)
    return list(read_source([known.file], [known]))


def _imports(text: str) -> list[str]:
    known = _names(text)
    return [item.message for item in read_imports([known.file], [known])]


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("F.conv2d", "torch.nn.functional.conv2d"),
        ("torch.nn.functional.conv2d", "torch.nn.functional.conv2d"),
        ("layers.functional.linear", "torch.nn.functional.linear"),
        ("getattr(F, 'conv' + '2d')", "torch.nn.functional.conv2d"),
        ("vars(F)['conv2d']", "torch.nn.functional.conv2d"),
        ("F.__dict__['conv2d']", "torch.nn.functional.conv2d"),
        ("importlib.import_module('torch.nn.functional').conv2d", "torch.nn.functional.conv2d"),
        ("__import__('torch').matmul", "torch.matmul"),
        ("sys.modules['torch'].matmul", "torch.matmul"),
        ("globals()['torch'].matmul", "torch.matmul"),
        ("(f := F.conv2d)", "torch.nn.functional.conv2d"),
        ("(F.conv1d if torch else F.conv2d)", "torch.nn.functional.conv2d"),
        ("torch.ops.aten.mm.default", "torch.ops.aten.mm.default"),
    ],
)
def test_names_are_resolved(code: str, name: str) -> None:
    known = _names(_START + f"used = {code}\n")
    assert name in known.resolve(ast.parse("used", mode="eval").body)


def test_aliases_of_aliases_and_defaults_are_followed() -> None:
    known = _names(_START + "a = F\nb = a.conv2d\n\ndef layer(x, convolve=b):\n    return convolve(x)\n")
    assert known.resolve(ast.Name("convolve")) == {"torch.nn.functional.conv2d"}


def test_names_of_a_neighbour_are_followed() -> None:
    others: dict[str, Names] = {}
    others["parts"] = Names(
        SourceFile("parts.py", "parts", "from torch.nn import functional as tools\n"), others
    )
    known = Names(SourceFile("model.py", "model", "from parts import tools\n"), others)
    found = known.resolve(ast.parse("tools.conv2d", mode="eval").body)
    assert "torch.nn.functional.conv2d" in found


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("'ti' + 'mm'", "timm"),
        ("'%s' % 'timm'", "timm"),
        ("f'{\"ti\"}mm'", "timm"),
        ("''.join(['t', 'i', 'm', 'm'])", "timm"),
        ("''.join(reversed('mmit'))", "timm"),
        ("'mmit'[::-1]", "timm"),
        ("'xtimmx'[1:-1]", "timm"),
        ("'TIMM'.lower()", "timm"),
        ("'tXmm'.replace('X', 'i')", "timm"),
        ("'{}{}'.format('ti', 'mm')", "timm"),
        ("b'timm'.decode()", "timm"),
        ("chr(116) + 'imm'", "timm"),
        ("'gvzz'.encode('rot13')", None),
        ("name", None),
        ("os.environ['x']", None),
        ("'a' * 10 ** 9", None),
    ],
)
def test_constants_are_folded(code: str, value: str | None) -> None:
    assert fold(ast.parse(code, mode="eval").body) == value


@given(st.text(alphabet="abcdefgh_.", min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_a_name_cut_in_pieces_is_put_together_again(name: str, generator: object) -> None:
    cut = len(name) // 2
    assert fold(ast.parse(f"{name[:cut]!r} + {name[cut:]!r}", mode="eval").body) == name
    assert fold(ast.parse(f"''.join({list(name)!r})", mode="eval").body) == name
    assert fold(ast.parse(f"{name[::-1]!r}[::-1]", mode="eval").body) == name


@pytest.mark.parametrize(
    "code",
    [
        "import timm",
        "import timm.models as m",
        "from timm import create_model",
        "from timm.models import *",
        "def f():\n    import timm",
        "try:\n    import timm\nexcept ImportError:\n    timm = None",
        "importlib.import_module('timm')",
        "load = importlib.import_module\nload('timm.models')",
        "__import__('timm')",
        "getattr(importlib, 'import_module')('timm')",
        "sys.modules['timm']",
        "runpy.run_module('timm')",
        "exec('import timm')",
        "eval(\"__import__('timm')\")",
        "exec(b'import timm'.decode())",
        "exec('exec(\"import timm\")')",
        "__builtins__['__import__']('timm')",
        "import kornia as timm",
    ],
)
def test_other_libraries_are_found(code: str) -> None:
    assert any("timm" in message or "kornia" in message for message in _imports(_START + code + "\n")), code


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("importlib.import_module(os.environ['x'])", "made while it runs"),
        ("__import__(input())", "made while it runs"),
        ("exec(open('x').read())", "made while it runs"),
        ("exec('def (')", "not Python"),
        ("torch.hub.load('a/b', 'c')", "loads a model from elsewhere"),
        ("torch.load('weights.pt')", "unpickles"),
        ("load = torch.jit.load\nload('x')", "loads a compiled model"),
        ("from torch.utils import cpp_extension", "compiles code"),
        ("torch.utils.cpp_extension.load_inline", "compiles code"),
        ("runpy.run_path('x.py')", "runs a file"),
        ("import wisp.macs", "a model may use wisp.models alone"),
        ("from wisp.rules import judging", "a model may use wisp.models alone"),
        ("sys.meta_path.append(1)", "changes what imports mean"),
    ],
)
def test_ways_around_imports_are_found(code: str, words: str) -> None:
    assert any(words in message for message in _imports(_START + code + "\n"))


@pytest.mark.parametrize(
    "code",
    [
        "import math, functools, dataclasses, typing, collections",
        "import torchvision\nfrom torchvision.models import squeezenet1_1",
        "import numpy as np\nfrom PIL import Image\nimport cv2, albumentations, scipy.ndimage, skimage.transform",
        "from wisp.models import build as make, named\nfrom wisp.models.layers import ConvUnit",
        "text = 'import timm'  # timm is only named",
        "import re\nre.compile('timm')",
        "torch.compile(nn.Linear(1, 1))",
    ],
)
def test_what_is_allowed_is_not_accused(code: str) -> None:
    assert _imports(_START + code + "\n") == []


def test_local_files_are_no_libraries_but_may_not_pretend_to_be() -> None:
    files = [SourceFile("model.py", "model", "import parts.blocks\nfrom parts import blocks\n")]
    files += [SourceFile("parts/blocks.py", "parts.blocks", "import timm\n")]
    files += [SourceFile("torch.py", "torch", "")]
    known = [Names(file) for file in files]
    found = {(item.path, item.line): item.message for item in read_imports(files, known)}
    assert set(found) == {("parts/blocks.py", 1), ("torch.py", None)}
    assert "parts" in local_modules(files)


def test_relative_imports_stay_inside() -> None:
    inner = SourceFile(
        "parts/blocks.py", "parts.blocks", "from . import other\nfrom .other import x\nfrom .. import y\n"
    )
    assert [item.module for item in Names(inner).imports] == ["parts", "parts.other", ""]


def test_data_libraries_inside_layers() -> None:
    text = _START + (
        "import numpy as np\n\ndef load(path):\n    return np.zeros(3)\n\n"
        "class A(nn.Module):\n    def __init__(self):\n        self.n = np.prod((1, 2))\n"
        "    def forward(self, x):\n        return x * np.pi\n\n"
        "class B(A):\n    def helper(self):\n        return np.e\n"
    )
    known = _names(text)
    found = [(item.severity, item.line) for item in data_libraries_in_layers([known])]
    lines = text.splitlines()
    assert [(severity, lines[(line or 0) - 1].strip()) for severity, line in found] == [
        ("warning", "self.n = np.prod((1, 2))"),
        ("violation", "return x * np.pi"),
        ("violation", "return np.e"),
    ]


def test_libraries_that_came_when_it_ran() -> None:
    found = list(
        loaded_libraries(
            {"timm": "model.py:3", "numpy": "model.py:4", "parts": "model.py:5"}, frozenset(["parts"])
        )
    )
    assert [(item.path, item.line) for item in found] == [("model.py", 3)]


@pytest.mark.parametrize(
    ("code", "words", "severity"),
    [
        (
            "class C(nn.Conv2d):\n    def forward(self, x):\n        return x",
            "subclass of torch.nn.Conv2d, with a forward",
            "warning",
        ),
        ("class C(layers.Linear): pass", "subclass of torch.nn.Linear", "warning"),
        ("y = F.conv2d(x, w)", "torch.nn.functional.conv2d computes outside of any layer", "warning"),
        ("y = torch.einsum('ij,j', a, b)", "torch.einsum computes", "warning"),
        ("y = a @ b", "a product of matrices", "warning"),
        ("y = a.bmm(b)", ".bmm computes", "warning"),
        ("y = torch.ops.aten.mm.default(a, b)", "torch.ops.aten.mm.default computes", "warning"),
        ("y = torch.fft.rfft2(x)", "torch.fft.rfft2 computes", "warning"),
        ("if torch.jit.is_tracing(): pass", "asks who is looking", "warning"),
        ("if torch.compiler.is_exporting(): pass", "asks who is looking", "warning"),
        ("x._forward_hooks", "asks who is looking", "warning"),
        ("x.register_forward_pre_hook(f)", "a hook can do work", "warning"),
        ("import threading", "which no model needs", "warning"),
        ("sys._getframe(1)", "looks at its callers", "violation"),
        ("import inspect\ninspect.stack()", "looks at its callers", "violation"),
        ("import gc\ngc.get_objects()", "looks for the judge's objects", "violation"),
        ("os._exit(0)", "ends the process that judges it", "violation"),
        ("sys.modules", "reaches into other modules", "violation"),
        ("import ctypes", "runs code that no counter sees", "violation"),
        ("import subprocess", "starts another process", "violation"),
        ("f.__globals__['x']", "reaches into other modules", "violation"),
        ("frame.f_back", "looks at its callers", "violation"),
        ("nn.Conv2d.forward = f", "changes torch.nn.Conv2d.forward", "violation"),
        ("F.conv2d = f", "changes torch.nn.functional.conv2d", "violation"),
        ("del torch.nn.Conv2d.forward", "changes torch.nn.Conv2d.forward", "violation"),
        ("sys.modules['torch'] = f", "reaches into other modules", "violation"),
        ("setattr(nn.Conv2d, 'forward', f)", "changes torch.nn.Conv2d.forward", "violation"),
        ("breakpoint()", "stops the judge", "violation"),
    ],
)
def test_what_is_read_in_a_source(code: str, words: str, severity: str) -> None:
    found = [item for item in _read(_START + code + "\n") if words in item.message]
    assert [item.severity for item in found][:1] == [severity], [
        str(item) for item in _read(_START + code + "\n")
    ]
    assert found[0].line is not None
    assert found[0].line > _START.count("\n")


def test_settings_of_torch_are_not_patches() -> None:
    assert (
        _read(_START + "torch.backends.cudnn.benchmark = True\nself.x = 1\nself.layer.weight.data = y\n")
        == []
    )


def test_the_clock_may_time_a_training_and_not_steer_a_model() -> None:
    text = _START + (
        "import time\n\ndef train(model):\n    return time.time()\n\n"
        "def helper():\n    return os.environ.get('x')\n\n"
        "class Net(nn.Module):\n    def forward(self, x):\n        return x if time.time() > 9 else helper()\n"
    )
    lines = text.splitlines()
    found = {
        lines[(item.line or 0) - 1].strip(): item.severity
        for item in _read(text)
        if "surroundings" in item.message
    }
    assert found == {
        "return time.time()": "warning",
        "return os.environ.get('x')": "violation",
        "return x if time.time() > 9 else helper()": "violation",
    }


@pytest.mark.parametrize("path", HONEST, ids=lambda path: path.stem)
def test_honest_sources_read_clean(path: Path) -> None:
    target = read_target(str(path))
    assert list(read_source(target.files, target.names())) == []
    assert list(read_imports(target.files, target.names())) == []
    assert list(data_libraries_in_layers(target.names())) == []


def test_files_beside_a_source_are_found_through_one_another(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    for name, text in {
        "model.py": "import first\nfrom package import inner\n",
        "first.py": "import second\n",
        "second.py": "import first\n",
        "unused.py": "import timm\n",
        "package/__init__.py": "",
        "package/inner.py": "from .deeper import x\n",
        "package/deeper.py": "x = 1\n",
    }.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    found = find_files(tmp_path / "model.py")
    assert found[0].module == "model"
    assert {file.module for file in found} == {
        "model",
        "first",
        "second",
        "package",
        "package.inner",
        "package.deeper",
    }


@pytest.mark.parametrize("text", ["def (", "x = (" * 3000, "x = '\x00'"])
def test_what_is_no_python_is_one_line(text: str) -> None:
    with pytest.raises(ModelError, match="not Python"):
        SourceFile("model.py", "model", text)

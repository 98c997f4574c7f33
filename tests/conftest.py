"""Fixtures that every test may use."""

from __future__ import annotations

import gc
import hashlib
import importlib
import os
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

import line_coverage

_LINES = line_coverage.begin()

# The same examples every time: a test that fails does so for everybody.
settings.register_profile("wisp", derandomize=True, database=None)
settings.load_profile("wisp")

# Before torch is imported, here or in a child: two of its threads on one free core wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")


# What most tests import, directly or through torch.
_OFTEN_IMPORTED = (
    "torch._dynamo",
    "torch.export._trace",
    "torch.onnx._internal.exporter._core",
    "onnx",
    "optuna",
)


def pytest_configure(config: pytest.Config) -> None:
    """One of several processes of a whole run puts its imports out of reach of the garbage collector.

    There are half a million objects in them. Otherwise every full collection and every exact count, which asks for the
    tensors that there are, goes through all of them: a fifth of the time of some files.
    """
    if hasattr(config, "workerinput"):
        for name in _OFTEN_IMPORTED:
            importlib.import_module(name)
        gc.collect()
        gc.freeze()


def pytest_sessionfinish() -> None:
    """Say which lines were reached."""
    if _LINES is not None:
        _LINES.write()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first, so that no process waits at the end for another's."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real photographs beside the repository; tests that need it skip, loudly, where it is missing."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        message = f"real photographs missing: {folder} (see CONTRIBUTING.md)"
        pytest.skip(message)
    return folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the user's cache."""
    monkeypatch.setenv("WISP_CACHE", str(tmp_path_factory.mktemp("cache")))


_READ: dict[Hashable, Any] = {}


@pytest.fixture(scope="module")
def models_read_once() -> Iterator[None]:
    """A process that reads a stranger's model says the same for the same bytes: each is asked once, then remembered.

    For tests of what is done with the answers. The processes have tests of their own: macs/test_macs_onnx.py,
    submission/test_models.py.
    """
    from wisp.macs import onnx as counter  # noqa: PLC0415  (they take a while)
    from wisp.submission import graph  # noqa: PLC0415

    ask, read = graph._ask, counter._read

    def ask_once(path: Path, images: list[str], seconds: int, answer_bytes: int) -> Any:
        pixels = [_digest(Path(name)) for name in images[:1]]
        key = ("ask", _digest(path), *pixels, *images[1:], seconds, answer_bytes)
        if key not in _READ:
            _READ[key] = ask(path, images, seconds, answer_bytes)
        return _READ[key]

    def read_once(path: Path, image_size: int) -> Any:
        key = ("read", _digest(path), image_size)
        if key not in _READ:
            _READ[key] = read(path, image_size)
        return _READ[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph, "_ask", ask_once)
        patch.setattr(counter, "_read", read_once)
        yield


_GRAPHS: dict[Hashable, bytes] = {}


@pytest.fixture(scope="module")
def graphs_exported_once() -> Iterator[None]:
    """A network's graph is torch's the first time, and the same with the new weights filled in from then on.

    For tests of what is done with exported files; each is compared with its network as always. The export has tests
    of its own: export/.
    """
    import onnx  # noqa: PLC0415  (they take a while)

    from wisp.export import onnx as exporter  # noqa: PLC0415

    export = exporter._graph

    def export_once(deployed: Any, size: int) -> Any:
        weights = {name: value.detach().cpu().numpy() for name, value in deployed.state_dict().items()}
        key = (repr(deployed), size, *((name, value.shape) for name, value in weights.items()))
        if key not in _GRAPHS:
            _GRAPHS[key] = export(deployed, size).SerializeToString()
        graph = onnx.ModelProto.FromString(_GRAPHS[key])
        for tensor in graph.graph.initializer:
            if tensor.name in weights:
                tensor.CopyFrom(onnx.numpy_helper.from_array(weights[tensor.name], tensor.name))
        return graph

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporter, "_graph", export_once)
        yield


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else str(path)

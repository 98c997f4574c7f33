"""The program of a network as a graph (torch.export), counted by replaying it operator by operator without values.

What torch.export can capture does the same work for every image of that size: nothing in it depends on values.
"""

from __future__ import annotations

import io
import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from wisp.macs.dispatch import Recorder, watch
from wisp.macs.ledger import Ledger, Place

_FRAME = re.compile(r'File "([^"]+)", line (\d+)')
_TORCH = str(Path(torch.__file__).parent) + os.sep
_REPEATED = re.compile(r"@\d+")


def trace_exported(model: nn.Module, image: Tensor) -> Ledger:
    """Capture `model` with torch.export and count the graph.

    Raises:
        Exception: whatever torch.export raises where it cannot capture a program; there are many kinds.
    """
    with _silent():
        program = torch.export.export(model, (image,), strict=False)
    graph = program.graph_module
    values = [node.meta["val"] for node in graph.graph.nodes if node.op == "placeholder"]
    mode = next(value.fake_mode for value in values if hasattr(value, "fake_mode"))
    ledger = Ledger()
    replay = _Replay(graph)
    with mode, Recorder(ledger, lambda: replay.place):
        replay.run(*values, enable_io_processing=False)
    return ledger


@contextmanager
def _silent() -> Iterator[None]:
    """Keep torch.export's notes about a program that it cannot capture from the user: what counts is that it fails."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


class _Replay(torch.fx.Interpreter):
    """Runs a captured graph and knows which node is running."""

    place = Place("", None)

    def run_node(self, n: torch.fx.Node) -> Any:
        self.place = _place(n)
        return super().run_node(n)


def _place(node: torch.fx.Node) -> Place:
    stack = node.meta.get("nn_module_stack") or {}
    layer = [str(path) for path, _ in stack.values()][-1] if stack else ""
    frames = [
        (file, line)
        for file, line in _FRAME.findall(node.meta.get("stack_trace") or "")
        if not file.startswith(_TORCH)
    ]
    return Place(_REPEATED.sub("", layer), ":".join(frames[-1]) if frames else None)


def watch_without_values(model: nn.Module, image: Tensor) -> Ledger:
    """Run `model` on tensors that have a shape but no values: what succeeds does the same for every image.

    Raises:
        Exception: whatever an operator, or foreign code, raises when it asks for a value.
    """
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        return watch(model, mode.from_tensor(image), sealed=False)

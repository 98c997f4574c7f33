"""What leaves torch's operators during a run, and what comes back: the places where a count would be blind."""

from __future__ import annotations

import gc
import itertools
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

from wisp.macs.ledger import Ledger, Place

LEAVES_TORCH = "values leave torch here; what is computed from them outside cannot be counted"
WORKS_ELSEWHERE = "work is started outside of this thread, where it cannot be counted"
COMES_FROM_ELSEWHERE = (
    "a tensor comes from elsewhere: it was computed in another thread, or out of torch's sight"
)

# Ways for values to leave torch for numpy, Python or foreign code.
_EXITS: Mapping[Any, str] = {
    getattr(Tensor, name): f"Tensor.{name}"
    for name in ("numpy", "__array__", "tolist", "data_ptr", "__dlpack__", "untyped_storage", "storage")
}
# Python's own audit events of work that starts elsewhere.
_STARTS = frozenset(
    [
        "subprocess.Popen",
        "os.exec",
        "os.fork",
        "os.forkpty",
        "os.posix_spawn",
        "os.spawn",
        "os.system",
        "ctypes.dlopen",
        "ctypes.dlsym",
        "socket.connect",
    ]
)


class Exits(TorchFunctionMode):
    """Notices values that leave torch for numpy, Python or foreign code."""

    def __init__(self, ledger: Ledger, place: Callable[[], Place]) -> None:
        super().__init__()
        self.ledger = ledger
        self.place = place

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func in _EXITS:
            place = self.place()
            if place.source is not None:  # else torch asks for itself
                self.ledger.miss(_EXITS[func], place, LEAVES_TORCH)
        return func(*args, **(kwargs or {}))


_listeners: list[tuple[int, Callable[[str], None]]] = []
_installed = threading.Event()


def _audit(event: str, _arguments: tuple[Any, ...]) -> None:
    if _listeners and event in _STARTS:
        thread, listener = _listeners[-1]
        if thread == threading.get_ident():
            listener(event)


@contextmanager
def work_elsewhere(ledger: Ledger, place: Callable[[], Place]) -> Iterator[None]:
    """Notices threads, processes and foreign libraries that this thread starts inside."""
    if (
        not _installed.is_set()
    ):  # a hook stays for the life of the process; without a listener it does nothing
        _installed.set()
        sys.addaudithook(_audit)

    def listener(event: str) -> None:
        found = place()
        if found.source is not None:  # else torch or Python does so for itself
            ledger.miss(event, found, WORKS_ELSEWHERE)

    here, start = threading.get_ident(), threading.Thread.start

    def announced(thread: threading.Thread) -> None:  # Python 3.11 has no event for it
        if threading.get_ident() == here:
            listener("threading.Thread.start")
        start(thread)

    _listeners.append((here, listener))
    threading.Thread.start = announced  # type: ignore[assignment,method-assign]
    try:
        yield
    finally:
        threading.Thread.start = start  # type: ignore[method-assign]
        _listeners.pop()


def existing_tensors() -> list[Tensor]:
    """Every tensor that Python holds right now: weights, buffers, constants of any kind."""
    kinds, waiting = set[type](), [Tensor]
    while waiting:
        kind = waiting.pop()
        kinds.add(kind)
        waiting += kind.__subclasses__()
    # isinstance would run the code of proxies; a million objects are looked at, so no line of Python for each
    items = gc.get_objects()
    return list(itertools.compress(items, map(kinds.__contains__, map(type, items))))

"""What a source does beside computing while it runs: Python reports it (PEP 578), and nothing can switch that off."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import Any

from wisp.records import Violation
from wisp.rules.attribution import is_library
from wisp.rules.findings import HIDDEN_COMPUTATION, finding

# Reported whoever does it on the source's behalf.
_ACTS = MappingProxyType(
    {
        "subprocess.Popen": "starts another process",
        "os.system": "starts another process",
        "os.exec": "starts another process",
        "os.fork": "starts another process",
        "os.forkpty": "starts another process",
        "os.posix_spawn": "starts another process",
        "os.kill": "ends a process",
        "os.killpg": "ends a process",
        "ctypes.dlopen": "loads foreign code",
        "ctypes.dlsym": "loads foreign code",
        "socket.connect": "talks to others",
        "socket.bind": "talks to others",
        "pickle.find_class": "unpickles, which runs code",
        "mmap.__new__": "shares memory with others",
        "os.chdir": "leaves its folder",
    }
)
# Reported where the source does it itself; libraries do so for honest ends.
_LOOKS = MappingProxyType(
    {
        "sys._getframe": "looks at its callers",
        "sys._current_frames": "looks at its callers",
        "sys.settrace": "watches the judge",
        "sys.setprofile": "watches the judge",
        "sys.addaudithook": "watches the judge",
        "gc.get_objects": "looks for the judge's objects",
        "gc.get_referrers": "looks for the judge's objects",
        "gc.get_referents": "looks for the judge's objects",
        "object.__getattr__": "reaches into other functions or frames",
        "object.__setattr__": "changes other functions or classes",
        "code.__new__": "makes code while it runs",
        "exec": "runs code that is made while it runs",
        "compile": "runs code that is made while it runs",
    }
)
_ASK_FOR_OTHERS = ("inspect.py", "traceback.py")
_IMPORTING = "<frozen importlib"
_CODE = (".py", ".pyc", ".so")


class Listener:
    """Listens for the rest of the process's life to what files below `root` do.

    Args:
        root: the folder of the source.
        tell: is given each finding once, at once.
    """

    def __init__(self, root: Path, tell: Callable[[Violation], None]) -> None:
        self.loaded: dict[str, str] = {}
        self._root = str(root)
        self._tell = tell
        self._thread = threading.get_ident
        self._told: set[tuple[str, str | None]] = set()
        self._busy: set[int] = set()

    def start(self) -> None:
        """Begin; there is no end."""
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        here = self._thread()
        if here in self._busy or not (event in _ACTS or event in _LOOKS or event in {"open", "import"}):
            return
        self._busy.add(here)  # what follows raises events of its own
        try:
            self._weigh(event, arguments, sys._getframe(1))
        finally:
            self._busy.discard(here)

    def _weigh(self, event: str, arguments: tuple[Any, ...], frame: FrameType) -> None:
        if event == "import":
            where = self._asker(frame, (_IMPORTING,))
            if where is not None:
                self.loaded.setdefault(str(arguments[0]).partition(".")[0], where)
        elif event == "open":
            path, where = arguments[0], self._asker(frame, None)
            if where is not None and isinstance(path, str) and not self._is_code(path):
                self._report(event, where, f"opens {path!r}: what a model knows must be in its weights")
        elif event in _ACTS:
            self._report(event, self._asker(frame, None), f"{event} {_ACTS[event]}")
        else:
            self._report(event, self._asker(frame, _ASK_FOR_OTHERS), f"{event} {_LOOKS[event]}")

    def _report(self, event: str, where: str | None, message: str) -> None:
        if where is not None and (event, where) not in self._told:
            self._told.add((event, where))
            fix = "a model needs none of it: remove it"
            self._tell(finding(HIDDEN_COMPUTATION, "violation", where, message, fix))

    def _asker(self, frame: FrameType | None, through: tuple[str, ...] | None) -> str | None:
        """The line of the source that caused an event; None where something else did.

        Frames of the files `through` are passed over; with None, those of all libraries.
        """
        while frame is not None:
            file = frame.f_code.co_filename
            if file.startswith(self._root):
                return f"{file}:{frame.f_lineno}"
            if not (
                is_library(file) if through is None else file.startswith(through) or file.endswith(through)
            ):
                return None
            frame = frame.f_back
        return None

    @staticmethod
    def _is_code(path: str) -> bool:
        return path.endswith(_CODE) or path.startswith(("/dev/null", sys.prefix, sys.base_prefix))

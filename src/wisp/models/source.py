"""Networks as a Python file of their own: `build()` or `build(num_classes)` returns a torch module.

The file is executed: only load what you would run.
"""

from __future__ import annotations

import hashlib
import inspect
import linecache
import pprint
import sys
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from wisp.errors import ModelError
from wisp.files import write_text
from wisp.models.edits import Edit, edits_to_json
from wisp.models.spec import ArchSpec
from wisp.models.spec import build as build_spec

if TYPE_CHECKING:
    from collections.abc import Iterator


_EDITED = """{text}


# Compressed by wisp: the network above, with the layers changed as listed.
import wisp.models.edits as _wisp_edits

build = _wisp_edits.edited(
    build,
{edits},
)
"""


@dataclass(frozen=True)
class SourceArch:
    """A network as the text of one Python file. Equal texts with equal classes are the same network.

    Attributes:
        text: the whole file.
        num_classes: classes of the network; given to `build` where it takes an argument.
        where: the file's name, for messages and tracebacks.
    """

    text: str = field(repr=False)
    num_classes: int
    where: str = field(default="model.py", compare=False)

    @property
    def family(self) -> str:
        """What reports call a network that has a source of its own."""
        return "source"

    def build(self) -> nn.Module:
        """The network, freshly initialised from torch's random state.

        Raises:
            ModelError: the file cannot be executed, has no `build`, or builds no network.
        """
        return _call_build(_execute(self.text, self.where), self.num_classes, self.where)

    def check(self, image_size: int) -> None:
        """Build the network once and let it see a blank batch.

        Raises:
            ModelError: it cannot be built, fails on images of this size, or does not give one logit a class.
        """
        model = self.build().eval()
        with torch.no_grad(), _as_model_error(self.where):
            logits = model(torch.zeros(2, 3, image_size, image_size))
        shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        if shape != (2, self.num_classes):
            raise ModelError(
                f"{self.where}: for two images of {image_size} px the network gives {shape}; it must give logits, "
                f"(2, {self.num_classes}): one for each class (build(num_classes) gets their number)"
            )

    def to_json(self) -> dict[str, Any]:
        """What identifies the network: its classes and the SHA-256 of its source."""
        return {
            "family": self.family,
            "num_classes": self.num_classes,
            "sha256": hashlib.sha256(self.text.encode()).hexdigest(),
        }

    def with_edits(self, edits: Sequence[Edit]) -> SourceArch:
        """The network after further edits: the same source with a last part that applies them."""
        listed = pprint.pformat(edits_to_json(edits), width=110, sort_dicts=False)
        return replace(self, text=_EDITED.format(text=self.text.rstrip(), edits=listed))

    def save(self, path: Path) -> None:
        """Write the source to `path`, whole or not at all."""
        write_text(path, self.text)

    @classmethod
    def load(cls, path: Path, num_classes: int) -> SourceArch:
        """Read a source; it is not executed before `build`.

        Raises:
            ModelError: the file is missing, or is not UTF-8 text.
        """
        return cls(_read(path), num_classes, str(path))


Network = ArchSpec | SourceArch
"""Everything that a run can train: a network as data, or as a source of its own."""


def build(network: Network) -> nn.Module:
    """The network that is described, freshly initialised from torch's random state.

    It takes normalised float images N x 3 x H x W and gives logits N x num_classes.

    Raises:
        ModelError: a source that cannot be executed, or builds no network.
    """
    return network.build() if isinstance(network, SourceArch) else build_spec(network)


def load_source(path: Path, num_classes: int | None = None) -> nn.Module:
    """What `build` in a Python file returns. The file is executed, and may import its neighbours.

    Args:
        path: the file.
        num_classes: given to `build` where it takes an argument; None leaves it at its default.

    Raises:
        ModelError: no such file, it fails, has no `build`, or builds no network.
    """
    text = _read(path)
    folder = str(path.parent.resolve())
    sys.path.insert(0, folder)  # as for a script
    try:
        return _call_build(_execute(text, str(path)), num_classes, str(path))
    finally:
        sys.path.remove(folder)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        reason = (
            "no such file" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        )
        raise ModelError(f"{path}: {reason}") from error
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: not UTF-8 text; save it as UTF-8") from error


def _execute(text: str, where: str) -> ModuleType:
    """The file as a module. It is known to `sys.modules` and `linecache`: dataclasses and tracebacks look there."""
    digest = hashlib.sha256(f"{where}\0{text}".encode()).hexdigest()[:12]
    module = ModuleType(f"wisp_source_{digest}")
    module.__file__ = where
    sys.modules[module.__name__] = module
    linecache.cache[where] = (len(text), None, text.splitlines(keepends=True), where)
    with _as_model_error(where):
        exec(compile(text, where, "exec"), module.__dict__)  # noqa: S102  (the caller chose to run it)
    return module


def _call_build(module: ModuleType, num_classes: int | None, where: str) -> nn.Module:
    function: Callable[..., object] | None = getattr(module, "build", None)
    if function is None:
        raise ModelError(f"{where}: cannot be used as a network (it has no function build())")
    with _as_model_error(where):
        takes_classes = num_classes is not None and bool(inspect.signature(function).parameters)
        network = function(num_classes) if takes_classes else function()
    if not isinstance(network, nn.Module):
        raise ModelError(
            f"{where}: build() returned {type(network).__name__}; it must return a torch.nn.Module"
        )
    return network


@contextmanager
def _as_model_error(where: str) -> Iterator[None]:
    """The file's own code may raise anything, also SystemExit."""
    try:
        yield
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise ModelError(f"{where}: cannot be used as a network ({reason})") from error

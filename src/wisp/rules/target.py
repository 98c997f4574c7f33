"""What is to be checked: a submission, a run, a Python file, an arch.json or a named network."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from wisp.errors import DataError, ModelError, RecipeError
from wisp.models import ArchSpec, resolve
from wisp.models.registry import ARCH_FILE
from wisp.rules.names import Names, SourceFile
from wisp.submission import Manifest, open_submission
from wisp.submission.contents import DATA, MODEL, RECIPE, SOURCE, WEIGHTS

DEFAULT_IMAGE_SIZE = 64
_RUN_WEIGHTS = "model.safetensors"
_MOST_FILES, _LARGEST_FILE_BYTES = 256, 1 << 20

Kind = Literal["submission", "run", "source", "network"]


@dataclass(frozen=True)
class Target:
    """One target, read; nothing of it has been executed.

    Attributes:
        kind: what it is.
        shown: how the user named it.
        image_size: side of the images that it is judged for, pixels.
        num_classes: classes of the network; None where a Python file decides.
        spec: the network as data; None where it is source code.
        files: the source code: the file with `build()` first, then its neighbours that it imports.
        folder: how findings show the folder of the files.
        weights: the content of its weights file; None where there is none.
        artifact: the content of its model.onnx; None where there is none.
        recipe: the content of recipe.toml.
        data: the content of data.json: the photos by split.
        manifest: what a submission says of itself.
    """

    kind: Kind
    shown: str
    image_size: int
    num_classes: int | None
    spec: ArchSpec | None = None
    files: tuple[SourceFile, ...] = ()
    weights: bytes | None = field(default=None, repr=False)
    artifact: bytes | None = field(default=None, repr=False)
    recipe: Mapping[str, Any] | None = None
    data: Mapping[str, Any] | None = field(default=None, repr=False)
    manifest: Manifest | None = field(default=None, repr=False)

    @property
    def has_source(self) -> bool:
        """Whether judging it means running code of its own."""
        return bool(self.files)

    def names(self) -> tuple[Names, ...]:
        """What the names in its files stand for, in their order."""
        known: dict[str, Names] = {}
        # Twice: the first reading of a file may precede that of a neighbour whose names it uses.
        for _ in range(2):
            for file in self.files:
                known[file.module] = Names(file, known)
        return tuple(known[file.module] for file in self.files)


def read_target(name: str, image_size: int | None = None, num_classes: int | None = None) -> Target:
    """Read what a user names.

    Args:
        name: a submission (.zip), a run folder, a Python file, an arch.json, or a network's name.
        image_size: side of the images. None: the target's own, or 64.
        num_classes: classes of the network, for a Python file or a name. None: the target's own.

    Raises:
        InputError: it cannot be read; the message names the file and the way out.
    """
    path = Path(name)
    if path.suffix == ".onnx":
        raise ModelError(
            f"{path}: an exported graph says nothing about rules; check its run, or its submission"
        )
    own = path.suffix == ".zip" or (path.is_dir() and (path / RECIPE).is_file())
    if own and (image_size is not None or num_classes is not None):
        option = "--image-size" if image_size is not None else "--num-classes"
        raise RecipeError(f"{option}: {path} has its own; leave the option out")
    if path.suffix == ".zip":
        return _submission(path)
    if path.is_dir() and (path / RECIPE).is_file():
        return _run(path)
    size = image_size or DEFAULT_IMAGE_SIZE
    if path.suffix == ".py":
        return Target("source", name, size, num_classes, files=find_files(path))
    spec = resolve(name, num_classes)
    return Target("network", name, size, spec.num_classes, spec=spec)


def _submission(path: Path) -> Target:
    opened = open_submission(path)
    manifest = opened.manifest
    texts = opened.source
    ordered = sorted(texts, key=lambda name: (name != SOURCE, name))
    return Target(
        "submission",
        str(path),
        manifest.image_size,
        len(manifest.classes),
        spec=None if opened.arch is None else ArchSpec.from_json(opened.arch, where=f"{path}: {ARCH_FILE}"),
        files=tuple(_file(name, name, texts[name]) for name in ordered),
        weights=opened.files[WEIGHTS],
        artifact=opened.files[MODEL],
        recipe=tomllib.loads(opened.recipe),
        data=opened.data,
        manifest=manifest,
    )


def _run(folder: Path) -> Target:
    recipe = _recipe(folder / RECIPE)
    try:
        data = json.loads((folder / DATA).read_text(encoding="utf-8"))
        classes = len(data["classes"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder / DATA}: missing or damaged; train the run again") from error
    is_source = (folder / SOURCE).is_file()
    return Target(
        "run",
        str(folder),
        recipe["image_size"],
        classes,
        spec=None if is_source else ArchSpec.load(folder / ARCH_FILE),
        files=find_files(folder / SOURCE) if is_source else (),
        weights=_content(folder / _RUN_WEIGHTS),
        artifact=_content(folder / MODEL),
        recipe=recipe,
        data=data,
    )


def _recipe(path: Path) -> dict[str, Any]:
    try:
        recipe = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecipeError(f"{path}: damaged ({error}); train the run again") from error
    size = recipe.get("image_size")
    if not isinstance(size, int) or size < 1:
        raise RecipeError(f"{path}: image_size must be a whole number of pixels")
    return recipe


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def find_files(entry: Path) -> tuple[SourceFile, ...]:
    """A Python file and its neighbours that it imports, directly or through one another.

    Raises:
        ModelError: a file is missing, no Python, too large, or there are too many.
    """
    found = {entry.name: _read(entry, entry.name, entry.parent)}
    waiting = [found[entry.name]]
    while waiting:
        for item in Names(waiting.pop()).imports:
            wanted = (item.module, *(f"{item.module}.{name}" for name in item.names))
            for path in (path for module in wanted for path in _places(entry.parent, module)):
                name = path.relative_to(entry.parent).as_posix()
                if name in found:
                    continue
                if len(found) >= _MOST_FILES:
                    raise ModelError(f"{entry}: imports more than {_MOST_FILES} files beside it")
                found[name] = _read(path, name, entry.parent)
                waiting.append(found[name])
    return tuple(found.values())


def _places(folder: Path, module: str) -> list[Path]:
    """The files beside the source that an import of `module` may run: packages on the way, and the module itself."""
    parts = module.split(".")
    if not all(part.isidentifier() for part in parts):
        return []
    places = [folder.joinpath(*parts[:count], "__init__.py") for count in range(1, len(parts) + 1)]
    places.append(folder.joinpath(*parts).with_suffix(".py"))
    return [path for path in places if path.is_file()]


def _read(path: Path, name: str, folder: Path) -> SourceFile:
    shown = str(folder / name)
    try:
        if path.stat().st_size > _LARGEST_FILE_BYTES:
            raise ModelError(f"{path}: larger than {_LARGEST_FILE_BYTES:,} bytes; a model's source is not")
        return _file(name, shown, path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = (
            "no such file" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        )
        raise ModelError(f"{path}: {reason}") from error
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: not UTF-8 text; save it as UTF-8") from error


def _file(name: str, shown: str, text: str) -> SourceFile:
    module = name.removesuffix(".py").replace("/", ".")
    is_package = module.endswith(".__init__")
    return SourceFile(shown, module.removesuffix(".__init__"), text, is_package, name)

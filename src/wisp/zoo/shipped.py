"""Finding the models that came with the package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wisp.errors import ModelError
from wisp.zoo.card import ModelCard

DEFAULT = "waste9-1m"
"""The model that `wisp classify` takes where none is named."""

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class ShippedModel:
    """A model's name, its `.onnx` file and its card."""

    name: str
    path: Path
    card: ModelCard


def shipped_models() -> tuple[ShippedModel, ...]:
    """Every model that came with the package, by name.

    Raises:
        ModelError: a card is damaged.
    """
    return tuple(
        ShippedModel(path.stem, path.with_suffix(".onnx"), ModelCard.load(path))
        for path in sorted(_FOLDER.glob("*.json"))
    )


def find_model(model: Path | str | None) -> Path:
    """The file or run folder that a user names: a path as it is, the name of a shipped model, or None for the default.

    A path that exists wins over a name; write the name of a shipped model where there is no such file.

    Raises:
        ModelError: a bare name that is neither a file nor a shipped model.
    """
    named = DEFAULT if model is None else str(model)
    path = Path(named)
    if model is not None and (path.exists() or path.suffix or path.name != named):
        return path
    shipped = _FOLDER / f"{named}.onnx"
    if not shipped.is_file():
        known = ", ".join(found.stem for found in sorted(_FOLDER.glob("*.onnx")))
        raise ModelError(f"{named}: no such file, and no model that came with wisp; those are: {known}")
    return shipped

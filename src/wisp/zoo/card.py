"""The card of a shipped model: what it was made of, how well it does, what it costs, and where it ends.

After Mitchell et al., "Model Cards for Model Reporting" (2019).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from wisp.errors import ModelError

_TUPLES = frozenset({"classes", "f1_each", "f1_ci95", "limits"})  # JSON has lists


@dataclass(frozen=True)
class ModelCard:
    """Everything that is said about one shipped model. All figures of F1 are macro F1 on the test split.

    Attributes:
        name: what `--model` takes.
        title: one line on what it tells apart.
        classes: in the order of its outputs.
        data: what it was trained and measured on; `name`, `photos` by split, `sources` with their licences.
        network: name of the network, `image_size` in pixels, `params`, `size_bytes` of the file.
        training: `epochs`, `pretrained`, `seeds`, the `seed` that is shipped, the `recipe`, and, where it had a
            teacher, the network that this was (`taught_by`).
        f1_each: of every seed, in the order of `training["seeds"]`.
        f1_mean: of all seeds.
        f1_sd: their sample standard deviation.
        f1: of the shipped file.
        f1_ci95: its 95% interval, photos resampled.
        parts: macro F1 of the shipped file on the photos of each source, where the data names them.
        macs: MACs of one image by each counter: `official_as_trained`, `official_deployed`, `graph` (exact).
        limits: what it must not be used for, one line each.
        made_by: command line that makes it again.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    data: Mapping[str, Any]
    network: Mapping[str, Any]
    training: Mapping[str, Any]
    f1_each: tuple[float, ...]
    f1_mean: float
    f1_sd: float
    f1: float
    f1_ci95: tuple[float, float]
    parts: Mapping[str, float]
    macs: Mapping[str, int]
    limits: tuple[str, ...]
    made_by: str

    def to_json(self) -> dict[str, Any]:
        """A dictionary that `json.dumps` takes."""
        return asdict(self)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a card.

        Raises:
            ModelError: the file is missing, or is no card.
        """
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            converted: dict[str, Any] = {
                name: tuple(value) if name in _TUPLES else value for name, value in values.items()
            }
            return cls(**converted)
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise ModelError(f"{path}: no model card ({error}); install wisp again") from error

    def markdown(self) -> str:
        """The card as a page."""
        low, high = self.f1_ci95
        each = ", ".join(f"{f1:.4f}" for f1 in self.f1_each)
        seeds = ", ".join(map(str, self.training["seeds"]))
        splits = ", ".join(f"{count:,} {split}" for split, count in self.data["photos"].items())
        start = "pretrained weights" if self.training["pretrained"] else "from scratch, no pretrained weights"
        if "taught_by" in self.training:
            start += f", taught by another {self.training['taught_by']}"
        learnt = (
            "the training and the validation split, when all choices were made; the first seed"
            if self.training["recipe"]["train_on_val"]
            else "the training split alone; the seed with the best validation F1"
        )
        lines = [
            f"# {self.name}",
            "",
            f"{self.title}",
            "",
            f"- **Classes:** {', '.join(self.classes)}.",
            f"- **Network:** {self.network['name']} at {self.network['image_size']} x {self.network['image_size']} "
            f"pixels, {self.network['params']:,} parameters, a file of {self.network['size_bytes']:,} bytes.",
            f"- **MACs of one image:** {self.macs['official_deployed']:,} by the competition's counter as deployed "
            f"(BatchNorm folded), {self.macs['official_as_trained']:,} as trained, {self.macs['graph']:,} exact "
            "(of the graph, without biases and pooling).",
            f"- **Data:** {self.data['name']}, {splits} photos.",
            f"- **Training:** {start}, {self.training['epochs']} epochs, on {learnt} is shipped (seed "
            f"{self.training['seed']} of {seeds}).",
            "",
            "## How well it does",
            "",
            "Macro F1 on the test split, which chose nothing:",
            "",
            f"- the shipped file: **{self.f1:.4f}**, 95% interval {low:.4f} to {high:.4f} (photos resampled);",
            f"- the recipe: **{self.f1_mean:.4f}** on average over seeds {seeds} (standard deviation {self.f1_sd:.4f}; "
            f"each {each}).",
            *(f"- its photos of {part}: {f1:.4f}." for part, f1 in self.parts.items()),
            "",
            "## Limits",
            "",
            *(f"- {limit}" for limit in self.limits),
            "",
            "## Sources and licences of the photos",
            "",
            *(f"- {source}" for source in self.data["sources"]),
            "",
            "The photos are not part of the package. Recipe:",
            "",
            "```toml",
            *(f"{name} = {_toml(value)}" for name, value in self.training["recipe"].items()),
            "```",
            "",
            "Made by:",
            "",
            "```",
            self.made_by,
            "```",
            "",
        ]
        return "\n".join(lines)


def _toml(value: object) -> str:
    return json.dumps(value)

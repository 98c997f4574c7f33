"""`wisp data`: the verbs around photos."""

from __future__ import annotations

from collections.abc import Mapping

import click

from wisp.cli.lazy import LazyGroup

# verb -> (module, attribute, one line for --help), as in wisp.cli.main.
VERBS: Mapping[str, tuple[str, str, str]] = {
    "inspect": (
        "wisp.cli.data_inspect",
        "inspect",
        "What is in a folder of photos, and what will trouble a training on it.",
    ),
    "split": (
        "wisp.cli.data_split",
        "split",
        "Divide one folder a class into train, val and test folders.",
    ),
    "get": ("wisp.cli.data_get", "get", "Fetch a public waste data set: TrashNet or TACO."),
    "crop": ("wisp.cli.data_crop", "crop", "Cut the objects of COCO annotations out of their photos."),
    "synthetic": (
        "wisp.cli.data_synthetic",
        "synthetic",
        "Render a labelled synthetic data set, for demos and tests.",
    ),
}


@click.group(cls=LazyGroup, verbs=VERBS)
def data() -> None:
    """Look at, fetch, crop or render training photos."""

"""The option that says what trainings begin with, shared by the verbs that train many networks."""

from __future__ import annotations

import click

init_option = click.option(
    "--init",
    default="pretrained",
    show_default=True,
    metavar="pretrained|scratch|RUN",
    help="What trainings begin with: weights that came with wisp, random ones, or a finished run's.",
)

"""The options that say what trainings begin with and whom they follow, shared by the verbs that train many networks."""

from __future__ import annotations

import click

init_option = click.option(
    "--init",
    default="pretrained",
    show_default=True,
    metavar="pretrained|scratch|RUN",
    help="What trainings begin with: weights that came with wisp, random ones, or a finished run's.",
)

distill_option = click.option(
    "--distill",
    is_flag=True,
    help="Let the last trainings follow the most accurate network of those before, whatever it costs. What was taught "
    "cannot be submitted.",
)

"""A group of commands that are imported only when they are run (click's documented lazy group)."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

import click

from wisp.errors import MissingExtraError

# Top-level modules that come with `wisp[train]`; their absence is a missing extra, not a bug.
TRAIN_EXTRA = frozenset(
    {
        "torch",
        "onnx",
        "onnxscript",
        "pydantic",
        "safetensors",
        "sqlalchemy",
        "tomli_w",
        "tqdm",
        "filelock",
        "matplotlib",
        "urllib3",
    }
)


class LazyGroup(click.Group):
    """A group whose commands are imported on first use."""

    def __init__(self, *args: object, verbs: Mapping[str, tuple[str, str, str]], **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # click types its arguments one by one
        self._verbs = verbs

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs, in the order of the table: the main job first."""
        return [*self._verbs, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb's module and return its command."""
        if cmd_name not in self._verbs:
            return super().get_command(ctx, cmd_name)
        module, attribute, _ = self._verbs[cmd_name]
        try:
            command = getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            if is_missing_extra(error):
                raise MissingExtraError(f"`{ctx.command_path} {cmd_name}`", "train") from error
            raise
        assert isinstance(command, click.Command)  # noqa: S101  (a programming error, not a user's)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs from the table alone, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in self._verbs.items()])


def is_missing_extra(error: ModuleNotFoundError) -> bool:
    """Whether the module that was not found comes with `wisp[train]`."""
    return bool(error.name) and str(error.name).partition(".")[0] in TRAIN_EXTRA

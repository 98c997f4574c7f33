"""Entry point: finds the verb, runs it, turns errors into one line and an exit code.

Verbs are imported only when they are run (click's documented lazy group), so `wisp --help` stays far under 0.3 s and
the runtime verbs work without the training extra.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping

import click

from wisp import __version__
from wisp.errors import MissingExtraError, WispError

# verb -> (module, attribute, one line for --help). A test holds the lines equal to each command's own short help.
VERBS: Mapping[str, tuple[str, str, str]] = {
    "optimize": (
        "wisp.cli.optimize",
        "optimize",
        "From a folder of photos to the best small classifier within a time budget.",
    ),
    "train": ("wisp.cli.train", "train", "Train one network on a folder of photos."),
    "evaluate": (
        "wisp.cli.evaluate",
        "evaluate",
        "Measure a model on a labelled split: macro F1, MACs, score.",
    ),
    "export": (
        "wisp.cli.export",
        "export",
        "Write a run as one self-contained .onnx file and prove that it agrees.",
    ),
    "classify": ("wisp.cli.classify", "classify", "Say what is on one or more photos."),
    "predict": (
        "wisp.cli.predict",
        "predict",
        "Classify a folder and write the competition's submission file.",
    ),
    "data": ("wisp.cli.data", "data", "Look at, fetch, crop or render training photos."),
    "macs": ("wisp.cli.macs", "macs", "Count a network's multiply-accumulates, layer by layer."),
    "score": ("wisp.cli.score", "score", "The competition's score of an F1 and a number of MACs."),
}

# Top-level modules that come with `wisp[train]`; their absence is a missing extra, not a bug.
_TRAIN_EXTRA = {
    "torch",
    "onnx",
    "onnxscript",
    "pydantic",
    "safetensors",
    "tomli_w",
    "tqdm",
    "filelock",
    "matplotlib",
    "urllib3",
}


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
            if error.name and error.name.partition(".")[0] in _TRAIN_EXTRA:
                raise MissingExtraError(f"`wisp {cmd_name}`", "train") from error
            raise
        assert isinstance(command, click.Command)  # noqa: S101  (a programming error, not a user's)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs from the table alone, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in self._verbs.items()])


@click.group(
    cls=LazyGroup,
    verbs=VERBS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="wisp")
def cli() -> None:
    """Make the smallest image classifier that still sorts your waste, and prove what it costs."""


def main() -> None:
    """Run the command line; the exit code is 0 on success, 1 on failure, 2 on unusable input, 130 after Ctrl-C."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command line with `arguments` and return the exit code (also what the tests call)."""
    try:
        result = cli.main(arguments, prog_name="wisp", standalone_mode=False)
    except WispError as error:
        click.echo(f"wisp: {error}", err=True)
        return error.exit_code
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] in _TRAIN_EXTRA:
            click.echo(f"wisp: {MissingExtraError('this command', 'train')}", err=True)
            return MissingExtraError.exit_code
        raise
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("wisp: interrupted", err=True)
        return 130
    except BrokenPipeError:
        # The reader (head, less) went away: say nothing more, also not at interpreter shutdown.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return result if isinstance(result, int) else 0

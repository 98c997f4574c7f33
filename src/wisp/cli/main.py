"""Entry point: finds the verb, runs it, turns errors into one line and an exit code.

Verbs are imported only when they are run (`wisp.cli.lazy`), so `wisp --help` stays far under 0.3 s and
the runtime verbs work without the training extra.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping

import click

from wisp import __version__
from wisp.cli.lazy import LazyGroup, is_missing_extra
from wisp.errors import InputError, MissingExtraError, WispError, printable

# verb -> (module, attribute, one line for --help). A test holds the lines equal to each command's own short help.
VERBS: Mapping[str, tuple[str, str, str]] = {
    "optimize": (
        "wisp.cli.optimize",
        "optimize",
        "From a folder of photos to the best small classifier within a time budget.",
    ),
    "search": (
        "wisp.cli.search",
        "search",
        "Search for the best small networks within a time budget, and train the best of them longer.",
    ),
    "train": ("wisp.cli.train", "train", "Train one network on a folder of photos."),
    "evaluate": (
        "wisp.cli.evaluate",
        "evaluate",
        "Measure a model on a labelled split: macro F1, MACs, score.",
    ),
    "compare": ("wisp.cli.compare", "compare", "Measure several runs on the same photos, side by side."),
    "compress": (
        "wisp.cli.compress",
        "compress",
        "Make a trained model smaller: fuse, prune or factor its layers.",
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
    "submit": (
        "wisp.cli.submit",
        "submit",
        "Pack a run as a submission that proves itself, or check one.",
    ),
    "reproduce": (
        "wisp.cli.reproduce",
        "reproduce",
        "Train a submission again from itself alone, and decide whether its result is real.",
    ),
    "zoo": ("wisp.cli.zoo", "zoo", "List the models that came with wisp, or show the card of one."),
    "check": (
        "wisp.cli.check",
        "check",
        "Hold a submission or a network against the competition's rules.",
    ),
    "data": ("wisp.cli.data", "data", "Look at, fetch, crop or render training photos."),
    "macs": ("wisp.cli.macs", "macs", "Count a network's multiply-accumulates, layer by layer."),
    "score": ("wisp.cli.score", "score", "The competition's score of an F1 and a number of MACs."),
}


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
    # A polite kill is a Ctrl-C: what is under way is saved, worker processes are stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command line with `arguments` and return the exit code (also what the tests call)."""
    try:
        result = cli.main(arguments, prog_name="wisp", standalone_mode=False)
    except WispError as error:
        click.echo(f"wisp: {printable(str(error))}", err=True)
        return error.exit_code
    except ModuleNotFoundError as error:
        if is_missing_extra(error):
            click.echo(f"wisp: {MissingExtraError('this command', 'train')}", err=True)
            return MissingExtraError.exit_code
        raise
    except OSError as error:
        if error.errno is None:  # not the operating system's
            raise
        where = error.filename2 or error.filename
        named = "" if where is None else f"{where}: "
        click.echo(f"wisp: {named}{error.strerror}", err=True)
        # A file that somebody named cannot be used; else the machine failed (a full disk, say).
        return WispError.exit_code if where is None else InputError.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("wisp: interrupted", err=True)
        return 130
    except SystemExit:  # click's answer where the reader (head, less) went away: that is no failure
        result = 0
    return result if isinstance(result, int) else 0

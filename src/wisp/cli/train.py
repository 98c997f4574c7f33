"""`wisp train`."""

from __future__ import annotations

import shlex
import tomllib
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wisp.errors import DataError, RecipeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from wisp.models import Network, Start
    from wisp.records import Dataset
    from wisp.train.loop import TrainResult
    from wisp.train.recipe import Recipe


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--model",
    help="A named network (see `wisp macs --list`), an arch.json, or a Python file with build(num_classes).  "
    "[default: wisp-2m]",
)
@click.option(
    "--image-size", type=int, help="Side of the network's input, pixels.  [default: the recipe's, 64]"
)
@click.option(
    "--epochs", type=int, help="Passes over the photos.  [default: the recipe's, else 40,000 steps]"
)
@click.option("--seed", type=int, help="Seed of everything random.  [default: the recipe's, 0]")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The run folder to write.")
@click.option(
    "--recipe", "recipe_file", type=click.Path(path_type=Path), help="A TOML recipe with everything else."
)
@click.option(
    "--set", "settings", multiple=True, metavar="FIELD=VALUE", help="Change one field of the recipe."
)
@click.option("--resume", is_flag=True, help="Go on with the run in --out; start it where there is none.")
@click.option("--overwrite", is_flag=True, help="Replace the run in --out.")
@click.option(
    "--teacher",
    "teachers",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A finished run to learn from (distillation); several vote.",
)
@click.option(
    "--init",
    default="scratch",
    show_default=True,
    metavar="scratch|pretrained|RUN",
    help="Begin with random weights, with those that came with wisp, or with those of a finished run; "
    "widths and classes may differ.",
)
@click.option(
    "--pretrained",
    metavar="FILE|download",
    help="Start from torchvision's weights: a local file, or `download`.",
)
@click.option("--skip-unreadable", is_flag=True, help="Leave unreadable photos out instead of stopping.")
@click.option(
    "--device", type=click.Choice(["cpu", "cuda"]), help="Where to train.  [default: CUDA where there is one]"
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="CPU threads; at these sizes two runs side by side beat one with two threads.",
)
def train(
    data: Path,
    model: str | None,
    image_size: int | None,
    epochs: int | None,
    seed: int | None,
    out: Path,
    recipe_file: Path | None,
    settings: tuple[str, ...],
    resume: bool,
    overwrite: bool,
    teachers: tuple[Path, ...],
    init: str,
    pretrained: str | None,
    skip_unreadable: bool,
    device: str | None,
    threads: int,
) -> None:
    """Train one network on a folder of photos.

    DATA has train/, val/ and test/ with one folder a class, or one folder a class. On several GPUs, start with
    `torchrun --nproc-per-node N -m wisp train ...`. A Python file given as --model is executed; it must be one file,
    and goes into the run folder as model.py.
    """
    import torch

    from wisp.data.folders import load_dataset
    from wisp.models import find_start
    from wisp.records import TRAIN
    from wisp.train.distributed import processes
    from wisp.train.folder_lock import sole_use
    from wisp.train.loop import train as run_training
    from wisp.train.recipe import Recipe
    from wisp.train.run import CHECKPOINT, RECIPE, describe_data, open_run, read_run
    from wisp.train.teacher import load_teacher

    _check_options(data, out, init, pretrained, replaces=overwrite and resume)
    torch.set_num_threads(threads)
    resuming = resume and (out / RECIPE).is_file()
    recipe = Recipe.load(out / RECIPE) if resuming and recipe_file is None else Recipe()
    if recipe_file is not None:
        recipe = Recipe.load(recipe_file)
    options = {"image_size": image_size, "epochs": epochs, "seed": seed}
    changes = {name: value for name, value in options.items() if value is not None}
    recipe = recipe.replace(**{**_parse_settings(settings), **changes})
    dataset = load_dataset(data)
    recipe = recipe.resolved(len(dataset.split(TRAIN)))
    if resuming and model is None:
        arch = read_run(out).arch
    else:
        arch = _network(model or "wisp-2m", len(dataset.classes), recipe.image_size)

    with processes(device) as procs, ExitStack() as held:
        # Before the run folder is made: weights that cannot be used leave none behind.
        teacher = load_teacher(teachers, dataset.classes, procs.device) if teachers else None
        start = find_start(init, arch)
        initialize, said = _beginning(arch, start, pretrained)
        if said and procs.is_first:
            click.echo(said, err=True)
        if procs.is_first:
            described = describe_data(dataset, teachers=teachers, pretrained=pretrained, start=start)
            if not resuming:
                _decode(dataset, recipe, out, overwrite=overwrite or resume, skip_unreadable=skip_unreadable)
            held.enter_context(sole_use(out))
            open_run(out, recipe, arch, described, resume=resume, overwrite=overwrite)
        procs.barrier()
        try:
            result = run_training(
                read_run(out),
                dataset,
                initialize=initialize,
                teacher=teacher,
                procs=procs,
                skip_unreadable=skip_unreadable,
            )
        except KeyboardInterrupt:
            if procs.is_first and (out / CHECKPOINT).is_file():
                click.echo(f"{out}: saved; go on with --resume", err=True)
            raise
    if procs.is_first:
        click.echo(_told(result, out))


def _check_options(data: Path, out: Path, init: str, pretrained: str | None, *, replaces: bool) -> None:
    if data.is_dir() and out.resolve().is_relative_to(data.resolve()):
        raise DataError(
            f"--out {out}: inside {data}, where it would count as a class; name a folder elsewhere"
        )
    if replaces:
        raise RecipeError(
            "--resume and --overwrite: one goes on with the run, the other replaces it; give one"
        )
    if pretrained and init != "scratch":
        raise RecipeError("--init and --pretrained: both say what to begin with; give one")


def _told(result: TrainResult, out: Path) -> str:
    f1 = "no validation split" if result.f1_val is None else f"validation macro F1 {result.f1_val:.4f}"
    epochs = "1 epoch" if result.epochs == 1 else f"{result.epochs:,} epochs"
    return (
        f"{out}: {epochs} in {result.seconds:.0f} s, loss {result.loss:.4f}, {f1}\n"
        f"next: wisp export {shlex.quote(str(out))}"
    )


def _decode(dataset: Dataset, recipe: Recipe, out: Path, *, overwrite: bool, skip_unreadable: bool) -> None:
    """Keep the photos decoded for the training. Those that cannot be used leave no run begun, and none given up.

    Raises:
        InputError: the folder cannot be used.
        DataError: the photos cannot.
    """
    from wisp.train.photos import load_photos
    from wisp.train.run import RUN_FILES, check_folder

    check_folder(out, contents=RUN_FILES, overwrite=overwrite)
    load_photos(dataset, recipe, skip_unreadable=skip_unreadable, progress=True)


def _beginning(
    arch: Network, start: Start | None, pretrained: str | None
) -> tuple[Callable[[nn.Module], object] | None, str]:
    """What fills the new network, tried at once, and what there is to say about it."""
    from wisp.models import build, load_pretrained
    from wisp.models.starts import initializer

    if start is not None:
        taken = start.fill(build(arch), arch)
        return initializer(start, arch), (
            f"beginning with weights of {start.name}: {len(taken.whole)} tensors whole, {len(taken.partial)} in part, "
            f"{len(taken.left)} new"
        )
    if not pretrained:
        return None, ""
    left_out = load_pretrained(build(arch), pretrained)
    said = (
        f"pretrained weights of another number of classes left out: {', '.join(left_out)}" if left_out else ""
    )
    return partial(load_pretrained, source=pretrained), said


def _network(model: str, num_classes: int, image_size: int) -> Network:
    """What --model names; a source is tried at once, before anything is written."""
    from wisp.models import SourceArch, resolve

    if not model.endswith(".py"):
        return resolve(model, num_classes=num_classes)
    source = SourceArch.load(Path(model), num_classes)
    source.check(image_size)
    return source


def _parse_settings(settings: tuple[str, ...]) -> dict[str, Any]:
    """`FIELD=VALUE` pairs, the values read as TOML (a bare word is a string)."""
    changes: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise RecipeError(f"--set {setting}: write FIELD=VALUE, for instance --set learning_rate=0.002")
        try:
            changes[name.strip()] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            changes[name.strip()] = text.strip()
    return changes

"""The models that are shipped: python -m benchmarks.make_zoo SET DATA --runs RUNS [--only NAME ...].

Takes the finished runs of `python -m benchmarks.accuracy SET DATA --out RUNS` (three seeds of the default recipe),
picks of each network the seed with the best validation F1 (the first one where validation was learnt, too), measures
every seed on test, and writes `.onnx`, card and page to src/wisp/zoo.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path

from wisp.data.folders import load_dataset
from wisp.files import replacing, write_json, write_text
from wisp.macs import count_onnx
from wisp.models import named
from wisp.models.starts import start_of_digest
from wisp.records import TEST, TRAIN, VAL
from wisp.score import LEADERBOARD_2021
from wisp.train.run import MEASUREMENT, Run, read_run, with_teachers
from wisp.trials import evaluate_artifact
from wisp.zoo import ModelCard

ZOO = Path(__file__).parents[1] / "src" / "wisp" / "zoo"
LARGEST_BYTES = 300_000


@dataclass(frozen=True)
class Shipped:
    """A row of `benchmarks.accuracy` that is shipped under `name`.

    `pretrained`: trained with `--init pretrained`; `train_on_val`: also on the validation photos, when all was chosen;
    `taught`: by the first seed of the same network, trained in the same way without a teacher.
    """

    name: str
    model: str
    image_size: int
    epochs: int
    pretrained: bool = False
    train_on_val: bool = False
    taught: bool = False

    @property
    def options(self) -> str:
        """Of the command that trains it."""
        start = " --init pretrained" if self.pretrained else ""
        also = " train_on_val=true" if self.train_on_val else ""
        return f"--networks {self.model}:{self.image_size}{start} --set-field epochs={self.epochs}{also}"

    def stem(self, name: str) -> str:
        """What the folders of its runs on the set `name` are called, but for the seed."""
        return f"{name}-{self.model}-{self.image_size}px-seed"

    def teacher(self, name: str) -> str:
        """The run that taught it, as its commands call it."""
        return f"TEACHERS/{self.stem(name)}0"

    def commands(self, name: str) -> tuple[str, ...]:
        """What trains it on the set `name`, its teacher first."""
        train = f"python -m benchmarks.accuracy {name} DATA"
        if not self.taught:
            return (f"{train} --out RUNS {self.options}",)
        return (
            f"{train} --out TEACHERS {self.options} --seeds 1",
            f"{train} --out RUNS {self.options} --teacher {self.teacher(name)}",
        )


NETWORKS = {
    "trashnet": (
        Shipped("trashnet-2m", "wisp-2m", 64, 593, pretrained=True, train_on_val=True, taught=True),
        Shipped("trashnet-1m", "wisp-1m", 48, 593, pretrained=True),
        Shipped("trashnet-500k", "wisp-500k", 48, 593, pretrained=True),
    ),
    "waste9": (
        Shipped("waste9-2m", "wisp-2m", 64, 125, pretrained=True),
        Shipped("waste9-1m", "wisp-1m", 64, 125, pretrained=True),
    ),
}
TITLES = {
    "trashnet": "Single pieces of household waste on a white board, as in the TrashNet photos.",
    "waste9": "Waste and litter in nine classes: cut-out objects, as a sorting robot or a detector hands them on.",
}
SOURCES = {
    "trashnet": ("TrashNet (Thung & Yang, Stanford CS229, 2016), MIT licence.",),
    "waste9": (
        "TACO (Proenca & Simoes, 2020): object crops of its photos at 416 px, CC BY 4.0.",
        "TrashNet (Thung & Yang, Stanford CS229, 2016), MIT licence.",
        "A public 12-class garbage classification set; licence not stated with the copy used.",
        "A public set of clothing photos, CC0.",
        "Drink cartons of a public grocery set, MIT licence.",
        "Public photos of styrofoam and of cartons; licence not stated with the copies used.",
    ),
}
START = (
    "For the weights that it began with: a part of Tiny ImageNet (Stanford CS231n, 2015), research use; see `--init "
    "pretrained`."
)
LIMITS = {
    "trashnet": (
        "It knows one object at a time, on a plain light background, as TrashNet shows it. On litter in the wild, on a "
        "belt, or with several objects in view it guesses.",
        "Its photos were made by two people in one place; expect worse on waste of other countries.",
        "There is no class for anything else: it always answers with one of its six.",
    ),
    "waste9": (
        "Class and source are confounded in its training photos: most classes come from product photos, so the figure "
        "for the TACO part is the honest one for litter in the wild, and it is low.",
        "It expects the object to fill the picture: crop first.",
        "There is no class for anything else: it always answers with one of its nine.",
        "Do not sort batteries with it alone: a missed battery is a fire, and recall on them is not perfect.",
        "Some of its photos came without a stated licence: find out before you sell what it is a part of.",
    ),
}
START_LIMIT = (
    "The weights that it began with learned from photos for research use: find out what that means for you before you "
    "sell what it is a part of, or train your own from scratch."
)


def main() -> None:
    """Write the models of one set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("set", choices=NETWORKS)
    parser.add_argument("data", type=Path)
    parser.add_argument("--runs", type=Path, required=True, help="the --out of benchmarks.accuracy")
    parser.add_argument("--out", type=Path, default=ZOO, help="where the models go")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--teacher", type=Path, metavar="RUN", help="what taught those that had a teacher")
    parser.add_argument("--only", nargs="*", help="only these, by name")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for shipped in NETWORKS[arguments.set]:
        if arguments.only and shipped.name not in arguments.only:
            continue
        stem = shipped.stem(arguments.set)
        folders = [arguments.runs / f"{stem}{seed}" for seed in range(arguments.seeds)]
        if shipped.taught:
            check_teacher(arguments.teacher, shipped, folders)
        card, artifact = make_card(arguments.set, shipped, arguments.data, folders)
        with replacing(arguments.out / f"{shipped.name}.onnx") as temporary:
            shutil.copyfile(artifact, temporary)
        write_json(arguments.out / f"{shipped.name}.json", card.to_json())
        write_text(arguments.out / f"{shipped.name}.md", card.markdown())
        print(f"{shipped.name}: F1 {card.f1:.4f} on test, {card.f1_mean:.4f} over seeds")


def check_teacher(teacher: Path | None, shipped: Shipped, folders: list[Path]) -> None:
    """Whether the runs learnt from this teacher, and it is what the card will say."""
    if teacher is None:
        raise SystemExit(f"{shipped.name}: name the run that taught it with --teacher")
    taught = with_teachers({}, [teacher])["teachers"]
    run = read_run(teacher)
    alike = _how_trained(run) == (shipped.pretrained, shipped.epochs, shipped.train_on_val, False)
    if run.arch != named(shipped.model, len(run.classes)) or not alike:
        raise SystemExit(f"{teacher}: not trained with: {shipped.options}")
    for folder in folders:
        if read_run(folder).data.get("teachers") != taught:
            raise SystemExit(f"{folder}: was not taught by {teacher}")


def _how_trained(run: Run) -> tuple[bool, int, bool, bool]:
    """Whether from shipped weights, for how many epochs, whether on validation, too, and whether with a teacher."""
    start = start_of_digest(run.data.get("pretrained", ""))
    return start is not None, run.recipe.epochs, run.recipe.train_on_val, "teachers" in run.data


def make_card(name: str, shipped: Shipped, data: Path, folders: list[Path]) -> tuple[ModelCard, Path]:
    """The card, and the file that is shipped: of the best seed on validation; of the first, where that was learnt."""
    dataset = load_dataset(data)
    runs = [read_run(folder) for folder in folders]
    for other in runs:
        wanted = (shipped.pretrained, shipped.epochs, shipped.train_on_val, shipped.taught)
        if _how_trained(other) != wanted:
            raise SystemExit(f"{other.folder}: not trained with: {shipped.commands(name)[-1]}")
    best = 0
    if not shipped.train_on_val:
        on_validation = [
            json.loads((folder / MEASUREMENT).read_text(encoding="utf-8"))["f1_macro"] for folder in folders
        ]
        best = max(range(len(folders)), key=on_validation.__getitem__)
    tests = [evaluate_artifact(run.artifact, dataset, TEST, baseline=LEADERBOARD_2021) for run in runs]
    chosen, run = tests[best], runs[best]
    size_bytes = run.artifact.stat().st_size
    if size_bytes > LARGEST_BYTES:
        raise SystemExit(f"{run.artifact}: {size_bytes:,} bytes; at most {LARGEST_BYTES:,} are shipped")
    f1_each = tuple(round(test.f1_macro, 4) for test in tests)
    card = ModelCard(
        name=shipped.name,
        title=TITLES[name],
        classes=chosen.classes,
        data={
            "name": name,
            "photos": {split: len(dataset.split(split)) for split in (TRAIN, VAL, TEST)},
            "sources": [*SOURCES[name], *([START] if shipped.pretrained else [])],
        },
        network={
            "name": shipped.model,
            "image_size": shipped.image_size,
            "params": chosen.params,
            "size_bytes": size_bytes,
        },
        training={
            "epochs": run.recipe.epochs,
            "pretrained": shipped.pretrained,
            **({"taught_by": shipped.model} if shipped.taught else {}),
            "seeds": [each.recipe.seed for each in runs],
            "seed": run.recipe.seed,
            "recipe": asdict(run.recipe),
        },
        f1_each=f1_each,
        f1_mean=round(statistics.mean(test.f1_macro for test in tests), 4),
        f1_sd=round(statistics.stdev(test.f1_macro for test in tests), 4),
        f1=round(chosen.f1_macro, 4),
        f1_ci95=(round(chosen.f1_ci95[0], 4), round(chosen.f1_ci95[1], 4)),
        parts={part: round(result.f1_macro, 4) for part, result in chosen.parts.items()},
        macs={
            "official_as_trained": chosen.macs_as_trained,
            "official_deployed": chosen.macs,
            "graph": count_onnx(run.artifact).total,
        },
        limits=(*LIMITS[name], *([START_LIMIT] if shipped.pretrained else [])),
        made_by=" && ".join(
            (
                *shipped.commands(name),
                f"python -m benchmarks.make_zoo {name} DATA --runs RUNS --only {shipped.name}"
                + (f" --teacher {shipped.teacher(name)}" if shipped.taught else ""),
            )
        ),
    )
    return card, run.artifact


if __name__ == "__main__":
    main()

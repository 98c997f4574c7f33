"""The weights that `--init pretrained` begins with: python -m benchmarks.make_pretrained PHOTOS --runs RUNS.

Trains networks of the wisp family on photos of everyday things (folders `train/<class>`, `val/<class>`), on a GPU where
there is one, and writes them without their last layer, as 16-bit numbers, to src/wisp/models/weights, each with a card.
A finished run in RUNS is not trained again; an interrupted one goes on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from wisp.data.folders import load_dataset
from wisp.files import replacing, write_text
from wisp.models import ArchSpec, named
from wisp.models.starts import pack_weights, unpack_weights
from wisp.records import TRAIN, VAL, Dataset
from wisp.train.distributed import processes
from wisp.train.loop import train
from wisp.train.recipe import Recipe
from wisp.train.run import Run, describe_data, open_run

WEIGHTS = Path(__file__).parents[1] / "src" / "wisp" / "models" / "weights"
LARGEST_BYTES = 5_000_000  # of all together
EPOCHS = {
    "wisp-250k": 36,
    "wisp-500k": 36,
    "wisp-1m": 36,
    "wisp-1200k-se": 36,
    "wisp-2m": 30,
    "wisp-4m": 30,
}
SHIPPED = ("wisp-500k", "wisp-1m", "wisp-1200k-se", "wisp-2m")
SOURCE = (
    "43,000 photos at 64 x 64 of 200 everyday classes, a part of Tiny ImageNet (Stanford CS231n, 2015), "
    "itself a part of ImageNet (Russakovsky et al., 2015); research use"
)


def recipe(name: str) -> Recipe:
    """Everyday things stand upright, and there are enough of them: milder changes than for photos of waste."""
    return Recipe(
        image_size=64,
        epochs=EPOCHS[name],
        rotation_degrees=15.0,
        vertical_flip=False,
        min_crop_area=0.4,
        ema_decay=0.998,
        warmup_epochs=2.0,
    )


def main() -> None:
    """Train what is missing, and write weights and cards."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("--runs", type=Path, required=True, help="where the trainings are kept")
    parser.add_argument("--networks", nargs="*", choices=tuple(EPOCHS), default=SHIPPED)
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="where the weights go")
    parser.add_argument("--device", choices=("cpu", "cuda"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    dataset = load_dataset(arguments.photos)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.networks:
        run = _trained(name, dataset, arguments.runs / name, arguments.device)
        data = packed(run)
        with replacing(arguments.out / f"{name}.safetensors") as temporary:
            temporary.write_bytes(data)
        write_text(arguments.out / f"{name}.md", card(name, run, dataset, len(data)))
        print(f"{name}: validation macro F1 {run.metrics()[-1]['f1_val']:.4f}, {len(data):,} bytes")
    total = sum(path.stat().st_size for path in arguments.out.glob("*.safetensors"))
    if total > LARGEST_BYTES:
        raise SystemExit(f"{arguments.out}: {total:,} bytes; at most {LARGEST_BYTES:,} are shipped")


def _trained(name: str, dataset: Dataset, folder: Path, device: str | None) -> Run:
    chosen = recipe(name).resolved(len(dataset.split(TRAIN)))
    run = open_run(folder, chosen, named(name, len(dataset.classes)), describe_data(dataset), resume=True)
    with processes(device) as procs:
        train(run, dataset, procs=procs)
    return run


def packed(run: Run) -> bytes:
    """The weights but for the last layer, whose classes nobody needs; floats as 16 bits."""
    assert isinstance(run.arch, ArchSpec)
    state: dict[str, Tensor] = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in run.load_model().state_dict().items()
        if not name.startswith("classifier.")
    }
    data = pack_weights(state, run.arch)
    assert unpack_weights(data)[1] == run.arch
    return data


def card(name: str, run: Run, dataset: Dataset, size_bytes: int) -> str:
    """What the weights are, in words."""
    last, used = run.metrics()[-1], run.recipe
    return f"""# Pretrained weights: {name}

A start for trainings (`--init pretrained`), not a classifier: its last layer is not in the file.

| | |
| --- | --- |
| network | `{name}`, {used.image_size} px |
| file | {name}.safetensors, {size_bytes:,} bytes, 16-bit floats |
| photos | {len(dataset.split(TRAIN)):,} for training, {len(dataset.split(VAL)):,} for validation |
| source | {SOURCE} |
| training | {used.epochs} epochs, batches of {used.batch_size}, seed {used.seed}, from random weights |
| validation | macro F1 {last["f1_val"]:.4f} over {len(dataset.classes)} classes (one seed) |
| made by | `python -m benchmarks.make_pretrained PHOTOS --runs RUNS --networks {name}` |

Limits: no photo of waste as such was seen, and no photo of TrashNet, waste9 or TACO. What ImageNet's photos get wrong
(places, cultures, labels) is in the features too.
"""


if __name__ == "__main__":
    main()

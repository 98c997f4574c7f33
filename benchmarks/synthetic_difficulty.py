"""Is the synthetic data neither trivial nor hopeless? A tiny and a larger network, trained alike on it.

    python -m benchmarks.synthetic_difficulty [--data DIR] [--epochs 25] [--seed 0] [--out FILE]

Both networks see the same 1,800 pictures for the same number of epochs with the same recipe. They are measured on the
pictures of val and test together, since nothing is chosen here and twice the pictures halve the noise. The larger one
has to be clearly better and useful, but not perfect.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.outcome import Bar, arguments, finish
from wisp.data.folders import load_dataset
from wisp.data.synthetic import render_dataset
from wisp.models import named
from wisp.records import TEST, TRAIN, VAL
from wisp.train.loop import train
from wisp.train.recipe import Recipe
from wisp.train.run import create_run, describe_data

TINY, LARGER = ("wisp-250k", 32), ("wisp-2m", 64)
IMAGES = 1800
CLEARLY_BELOW, USEFUL, TRIVIAL = 0.05, 0.55, 0.95


def main() -> None:
    """Render, train twice, compare."""
    parser = arguments("A tiny and a larger network on the synthetic data.")
    parser.add_argument("--epochs", type=int, default=25, help="epochs of both trainings")
    parser.add_argument("--seed", type=int, default=0, help="seed of both trainings")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        root = options.data or render_dataset(scratch / "photos", images=IMAGES).root
        photos = load_dataset(root)
        photos = replace(
            photos, splits={TRAIN: photos.split(TRAIN), VAL: (*photos.split(VAL), *photos.split(TEST))}
        )
        data = describe_data(photos, progress=False)
        numbers: dict[str, object] = {
            "train_images": len(photos.split(TRAIN)),
            "held_out_images": len(photos.split(VAL)),
            "epochs": options.epochs,
        }
        f1 = {}
        for name, size in (TINY, LARGER):
            # pictures stand upright more often than not: small turns, as one would choose after a look at them
            recipe = Recipe(
                image_size=size,
                epochs=options.epochs,
                seed=options.seed,
                batch_size=32,
                rotation_degrees=20,
                vertical_flip=False,
                ema_decay=0.98,
            )
            arch = named(name, len(photos.classes))
            run = create_run(scratch / f"{name}-{size}", recipe, arch, data)
            result = train(run, photos, cache_dir=scratch / "cache")
            assert result.f1_val is not None
            f1[name] = result.f1_val
            numbers[f"{name} at {size} px"] = {
                "macs": arch.macs(size),
                "f1_macro": result.f1_val,
                "seconds": round(result.seconds, 1),
            }
    bars = [
        Bar("F1 by which the tiny network is below the larger", f1[LARGER[0]] - f1[TINY[0]], CLEARLY_BELOW),
        Bar("F1 of the larger network, not hopeless", f1[LARGER[0]], USEFUL),
        Bar("F1 of the larger network, not trivial", f1[LARGER[0]], TRIVIAL, at_most=True),
    ]
    finish("synthetic_difficulty", numbers, bars, options.out)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()

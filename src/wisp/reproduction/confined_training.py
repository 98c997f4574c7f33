"""The program that runs in the sandbox: a training whose network is source code of a submission.

Everything it leaves in its scratch folder passes for nothing but data: the source shares this process, and could have
changed whatever it likes. It sees neither the test photos nor the submission's weights.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import torch

from wisp.data.folders import load_dataset
from wisp.macs import count_exact, count_macs
from wisp.models import SourceArch
from wisp.reproduction.retraining import COSTS
from wisp.train.loop import train
from wisp.train.recipe import Recipe
from wisp.train.run import RECIPE, SOURCE, describe_data, open_run
from wisp.trials import export_run


def main(arguments: list[str]) -> None:
    """Train in the working folder: `PHOTOS SUBMISSION [--skip-unreadable]`."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    photos, given = map(Path, arguments[:2])
    skip_unreadable = "--skip-unreadable" in arguments
    sys.path.insert(0, str(given))  # a source may import its neighbours
    torch.set_num_threads(1)
    dataset = load_dataset(photos, progress=False)
    network = SourceArch.load(given / SOURCE, len(dataset.classes))
    recipe = Recipe.load(given / RECIPE)
    described = describe_data(dataset, progress=False)
    run = open_run(Path("run"), recipe, network, described, resume=True)
    train(run, dataset, skip_unreadable=skip_unreadable, progress=False)
    export_run(run, dataset, skip_unreadable=skip_unreadable)
    model = run.load_model()
    exact = count_exact(model, recipe.image_size)
    costs = {
        "params": sum(parameter.numel() for parameter in model.parameters()),
        "official": count_macs(model, recipe.image_size).total,
        "exact": exact.total,
        "exact_complete": exact.complete,
    }
    Path(COSTS).write_text(json.dumps(costs), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])

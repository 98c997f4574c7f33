"""What compression keeps before any fine-tuning: python -m benchmarks.compression RUN DATA [--out FILE].

A trained run is pruned and factored to several shares of its MACs, by every importance and with and without photos; the
macro F1 is that on validation photos. Nothing is trained, so it takes minutes. The peer is Torch-Pruning's own pruner
with its group magnitude and group Taylor importance, at the same MACs (where it is installed).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from benchmarks.outcome import finish
from wisp.compress import Change, LowRankConfig, PruneConfig, factorize, prune
from wisp.compression import read_subject
from wisp.compression.tuning import Judge
from wisp.data.folders import load_dataset
from wisp.macs import count_macs

SHARES = (0.85, 0.7, 0.5)
Row = dict[str, Any]
Importance = Literal["taylor", "magnitude", "batchnorm"]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", help="a complete run")
    parser.add_argument("data", type=Path, help="its photos")
    parser.add_argument("--out", type=Path, help="also write the result to this JSON file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    subject, dataset = read_subject(arguments.run), load_dataset(arguments.data)
    assert subject.run is not None, "a run is needed"
    judge = Judge(dataset, subject.run.recipe.resize, torch.device("cpu"))
    size, classes = subject.image_size, subject.network.num_classes
    whole = count_macs(subject.model, size).total
    rows: list[Row] = []
    for share in SHARES:
        target = int(share * whole)
        for name, make in (
            *ours(subject.model, target, size, judge),
            *theirs(subject.model, target, size, judge),
        ):
            model, _ = make()
            row = {
                "method": name,
                "share": share,
                "macs": count_macs(model, size).total,
                "params": sum(parameter.numel() for parameter in model.parameters()),
                "f1_val": judge.f1(model, classes),
            }
            print(row, flush=True)
            rows.append(row)
    finish(
        "compression",
        {
            "run": Path(arguments.run).name,
            "macs": whole,
            "f1_val": judge.f1(subject.model, classes),
            "rows": rows,
        },
        (),
        arguments.out,
    )


def ours(
    model: nn.Module, target: int, size: int, judge: Judge
) -> Iterator[tuple[str, Callable[[], tuple[nn.Module, Change]]]]:
    """Every way of wisp's own."""
    importances: tuple[Importance, ...] = ("taylor", "magnitude", "batchnorm")
    for importance in importances:
        for per_mac in (True, False):
            config = PruneConfig(max_macs=target, importance=importance, per_mac=per_mac)
            name = f"prune, {importance}{', for each MAC' if per_mac else ''}"
            yield name, partial(prune, model, config, image_size=size, losses=judge.losses)
    for name, images in (("weights", None), ("photos", judge.images)):
        config_of_ranks = LowRankConfig(target)
        yield (
            f"lowrank, by {name}",
            partial(factorize, model, config_of_ranks, image_size=size, images=images),
        )


def theirs(
    model: nn.Module, target: int, size: int, judge: Judge
) -> Iterator[tuple[str, Callable[[], tuple[nn.Module, None]]]]:
    """Torch-Pruning, all layers ranked together, until the MACs are met."""
    try:
        import torch_pruning  # noqa: PLC0415  (a peer that may be missing)
    except ModuleNotFoundError:
        return
    importances = torch_pruning.importance
    for name, importance in (
        ("magnitude", importances.GroupMagnitudeImportance()),
        ("Taylor", importances.GroupTaylorImportance()),
    ):

        def pruned(name: str = name, importance: Any = importance) -> tuple[nn.Module, None]:
            small = deepcopy(model)
            classifier = [module for module in small.modules() if isinstance(module, nn.Linear)][-1]
            images = torch.randn(2, 3, size, size)
            pruner = torch_pruning.pruner.BasePruner(
                small,
                images,
                importance=importance,
                global_pruning=True,
                pruning_ratio=0.9,
                iterative_steps=400,
                ignored_layers=[classifier],
            )
            if name == "Taylor":
                small.zero_grad()
                for loss in judge.losses(small):
                    loss.backward()  # type: ignore[no-untyped-call]
            while count_macs(small, size).total > target:
                pruner.step()
            return small, None

        yield f"Torch-Pruning, {name}", pruned


if __name__ == "__main__":
    main()

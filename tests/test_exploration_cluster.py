"""A search on a real Ray cluster of this machine: the strategy, the store, the executor and real trainings together."""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster_trials import DYING, NotedTraining
from tiny_training import paint_photos
from wisp import exploration, rounds
from wisp.errors import InputError
from wisp.models.starts import unpack_weights
from wisp.outcome import Settings
from wisp.pipeline import optimize
from wisp.search.limits import Limits
from wisp.search.space import Space
from wisp.search.store import TrialStore, begun_with
from wisp.search.strategies import unit_epochs
from wisp.search_settings import SearchSettings
from wisp.train.recipe import Recipe


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One node with room for two trials, a working folder and decoded photos of its own."""
    pytest.importorskip("ray")
    (tmp_path / "node").mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own
        import ray  # noqa: PLC0415

        with monkeypatch.context() as patch:  # what the node's processes inherit
            patch.chdir(tmp_path / "node")
            patch.setenv("WISP_CACHE", str(tmp_path / "node" / "cache"))
            patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
            ray.init(  # a new one, whatever runs on this machine
                "local",
                num_cpus=2,
                num_gpus=0,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        yield
        ray.shutdown()


@pytest.mark.slow
def test_a_search_on_a_cluster(cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(paint_photos(tmp_path / "here" / "photos").parent)
    monkeypatch.setattr(exploration, "ShortTraining", NotedTraining)

    def over(task: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(rounds, "run_trial", over)  # the finals begin, on this machine: the search is over
    search = SearchSettings(strategy="random", limits=Limits(macs=400_000), sizes=(24,), trials=3, ray="auto")
    with pytest.raises(InputError, match=r"has 2 CPUs and 0 GPUs; one trial needs 1 and 0\.5"):
        exploration._executor(replace(search, gpus_per_trial=0.5), 1)
    out = Path("out")
    with pytest.raises(KeyboardInterrupt):
        optimize(
            Settings(Path("photos"), out, 1200.0, workers=1, search=search, recipe=Recipe(batch_size=4)),
            progress=False,
        )

    # The unit of training is that of the cluster's two workers, not of the one here.
    begun = begun_with(out / "trials.db", "search")
    assert begun is not None
    steps = 3 * 16 // 4
    assert begun["epochs"] == unit_epochs(0.4 * 1200.0 * 2, steps) == 21
    assert unit_epochs(0.4 * 1200.0, steps) == 11
    assert json.loads((out / "search.json").read_text())["this_run"]["workers"] == 2

    space = Space(3, image_size=(24,))
    store = TrialStore(out / "trials.db", "search", {})
    trials = store.trials()
    assert [trial.number for trial in trials] == [0, 1, 2]
    for trial in trials:
        assert trial.result is not None
        assert trial.result.error == ""
        assert 0 < trial.result.f1 <= 1
        assert trial.result.macs == space.cost(trial.proposal.genes).macs <= 400_000
        weights = store.weights(trial.number)
        assert weights is not None
        assert unpack_weights(weights)[1] == space.decode(trial.proposal.genes).arch
    store.close()

    # They ran in other processes with another working folder, found the photos by a relative DATA, left no checkpoint
    # behind, and decoded train and val once for all of the node.
    ran = [json.loads((out / f"ran-{number}").read_text()) for number in range(3)]
    assert os.getpid() not in {note["pid"] for note in ran}
    died = json.loads((out / "killed").read_text())  # after an epoch, and nothing was lost
    assert died["pid"] not in {os.getpid(), ran[DYING]["pid"]}
    assert {note["folder"] for note in ran} == {str(tmp_path / "node")}
    assert list((out / "trials").iterdir()) == []
    assert not (tmp_path / "node" / "out").exists()
    built = [entry for note in [*ran, died] for entry in note["built"]]
    assert len(built) == len(set(built)) == 2
    assert all(Path(entry).is_relative_to(tmp_path / "node" / "cache") for entry in built)
    assert len(list((tmp_path / "node" / "cache" / "photos").glob("*/pixels.u8"))) == 2

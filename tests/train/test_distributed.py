from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

from tiny_training import ARCH, BUSY, log_rows, open_in, train_in, weights
from wisp.cli.main import run
from wisp.data.folders import load_dataset
from wisp.errors import RecipeError
from wisp.models import ArchSpec
from wisp.train.distributed import Processes, _sync_on_cpu, _SyncedBatchNorm2d, alone, processes
from wisp.train.loop import train
from wisp.train.run import read_run

CPU = torch.device("cpu")
# No head: a bias between two norms has no gradient but rounding, which AdamW makes as large as any other.
STEADY = ArchSpec.from_json(
    {**ARCH.to_json(), "options": {**ARCH.to_json()["options"], "dropout": 0.0, "head": 0}}
)
RECIPE = BUSY.replace(epochs=3, learning_rate=0.005)


@pytest.fixture
def group() -> Iterator[None]:
    """A process group of this process alone: what it adds up stays as it is."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("momentum", [0.1, 0.01])
@pytest.mark.usefixtures("group")
def test_the_synced_batch_norm_is_batch_norm(momentum: float) -> None:
    torch.manual_seed(0)
    plain, synced = (nn.BatchNorm2d(5, momentum=momentum) for _ in range(2))
    for norm in (plain, synced):
        torch.manual_seed(1)
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    _sync_on_cpu(nn.Sequential(synced))
    assert type(synced) is _SyncedBatchNorm2d
    for step in range(3):
        ours, theirs = ((torch.randn(4, 5, 3, 6) * 2 + step).requires_grad_() for _ in range(2))
        theirs.data.copy_(ours.data)
        slope = torch.randn(4, 5, 3, 6)
        (synced(ours) * slope).sum().backward()
        (plain(theirs) * slope).sum().backward()
        torch.testing.assert_close(synced(ours), plain(theirs), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(synced.weight.grad, plain.weight.grad, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(synced.bias.grad, plain.bias.grad, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(synced.state_dict(), plain.state_dict(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(synced.eval()(ours), plain.eval()(theirs), rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("group")
def test_an_even_batch_has_no_variance_below_zero() -> None:
    norm = _sync_on_cpu(nn.Sequential(nn.BatchNorm2d(1)))
    assert norm(torch.full((4, 1, 5, 5), 1234.567)).isfinite().all()


def test_only_plain_batch_norms_are_changed() -> None:
    model = _sync_on_cpu(nn.Sequential(nn.BatchNorm2d(2), nn.BatchNorm1d(2), nn.Conv2d(2, 2, 1)))
    assert [type(child) for child in model] == [_SyncedBatchNorm2d, nn.BatchNorm1d, nn.Conv2d]


def test_one_process_on_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    batch, model = torch.arange(6), nn.Linear(2, 2)
    with processes("cpu") as procs:
        assert procs == alone("cpu") == Processes(0, 1, CPU)
        procs.barrier()
        assert procs.is_first
        assert procs.slice(batch) is batch
        assert procs.wrap(model) is model
        assert procs.mean(0.1) == 0.1
        assert procs.any(True)
        assert not procs.any(False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("LOCAL_RANK", "3")
    with processes() as procs:
        assert procs.device == torch.device("cuda", 3)
    assert alone().device == torch.device("cuda")


def test_cuda_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RecipeError, match="--device cuda: torch finds no CUDA GPU"), processes("cuda"):
        pytest.fail("entered")


def test_batches_that_cannot_be_shared(photos: Path, tmp_path: Path) -> None:
    recipe = RECIPE.replace(batch_size=16)
    with pytest.raises(RecipeError, match="batch_size = 16 is no multiple of 3 processes; change it"):
        train_in(tmp_path / "run", photos, recipe, procs=Processes(0, 3, CPU))
    with pytest.raises(RecipeError, match="48 training photos for 64 processes; use fewer"):
        train_in(tmp_path / "few", photos, RECIPE.replace(batch_size=64), procs=Processes(0, 64, CPU))


def _peer(rank: int, port: int, folder: Path, photos: Path, answers: Any) -> None:
    """One of two processes, as torchrun would start it: the meeting place is the starter's."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    os.environ |= {"TORCHELASTIC_USE_AGENT_STORE": "True"}
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    torch.set_num_threads(1)
    with processes("cpu") as procs:
        answer = {
            "first": procs.is_first,
            "mean": procs.mean(float(rank)),
            "any": [procs.any(rank == 1), procs.any(False)],
            "slice": procs.slice(torch.arange(6)).tolist(),
        }
        train(read_run(folder), load_dataset(photos), procs=procs, progress=False)
        answer["epochs"] = train(read_run(folder), load_dataset(photos), procs=procs).epochs
        answers.put((rank, answer))


def test_two_processes_are_as_good_as_one(photos: Path, tmp_path: Path) -> None:
    folder = open_in(tmp_path / "two", photos, RECIPE, STEADY).folder
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["wisp.train.loop"])
    answers = context.Queue()
    store = dist.TCPStore(
        "127.0.0.1", 0, is_master=True, wait_for_workers=False
    )  # its port is its own at once
    peers = [
        context.Process(target=_peer, args=(rank, store.port, folder, photos, answers), daemon=True)
        for rank in range(2)
    ]
    try:
        for peer in peers:
            peer.start()
        wait([peer.sentinel for peer in peers], timeout=200)
        for peer in peers:  # with the other one gone, it ends soon or never
            peer.join(60)
        assert [peer.exitcode for peer in peers] == [0, 0]
    finally:
        for peer in peers:
            if peer.is_alive():
                peer.kill()
    said = dict(answers.get(timeout=60) for _ in peers)
    shared = {"mean": 0.5, "any": [True, False], "epochs": 3}
    assert said[0] == {"first": True, "slice": [0, 1, 2], **shared}
    assert said[1] == {"first": False, "slice": [3, 4, 5], **shared}
    train_in(tmp_path / "one", photos, RECIPE, STEADY)
    _assert_close(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
@pytest.mark.timeout(900)  # starts many processes, which wait long for their turn on a busy machine
def test_torchrun_on_the_command_line(photos: Path, tmp_path: Path) -> None:
    STEADY.save(tmp_path / "arch.json")
    RECIPE.save(tmp_path / "recipe.toml")
    command = ["train", str(photos), "--model", str(tmp_path / "arch.json"), "--device", "cpu"]
    command += ["--recipe", str(tmp_path / "recipe.toml")]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*torchrun, "-m", "wisp", *command, "--out", str(tmp_path / "two")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("3 epochs in") == 1  # one of them speaks
    assert run([*command, "--out", str(tmp_path / "one")]) == 0
    _assert_close(tmp_path / "one", tmp_path / "two")


def _assert_close(one: Path, two: Path) -> None:
    torch.testing.assert_close(weights(two), weights(one), rtol=1e-3, atol=1e-4)
    for ours, theirs in zip(log_rows(one), log_rows(two), strict=True):
        assert theirs["loss"] == pytest.approx(ours["loss"], rel=1e-3)

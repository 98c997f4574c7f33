from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from tiny_training import ARCH, EASY, paint_photos, same_bits
from wisp.cli.main import VERBS, run
from wisp.cli.train import train
from wisp.models import build, named
from wisp.train.recipe import Recipe
from wisp.train.run import CHECKPOINT, RECIPE, WEIGHTS, read_run

ROOT = Path(__file__).parents[2]
FAST = ["--epochs", "1", "--image-size", "16", "--device", "cpu"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paint_photos(tmp_path_factory.mktemp("data") / "photos", train=6, val=2)


@pytest.fixture(scope="module")
def arch(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("arch") / "arch.json"
    ARCH.save(path)
    return str(path)


@pytest.fixture(scope="module")
def teacher(photos: Path, arch: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "teacher"
    assert run(["train", str(photos), "--model", arch, *FAST, "--out", str(folder)]) == 0
    return folder


@pytest.fixture(autouse=True)
def _threads_as_before() -> object:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_the_help_is_the_line_of_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert train.get_short_help_str(limit=200) == VERBS["train"][2]
    assert run(["train", "--help"]) == 0
    out = capsys.readouterr().out
    assert VERBS["train"][2] in out
    assert "torchrun --nproc-per-node N -m wisp train" in " ".join(out.split())


def test_every_option_stands_in_the_page() -> None:
    page = (ROOT / "docs" / "train.md").read_text(encoding="utf-8")
    options = [option for parameter in train.params for option in parameter.opts if option.startswith("--")]
    assert len(options) > 12
    assert [option for option in options if f"`{option}" not in page] == []


def test_one_training(photos: Path, arch: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "my run"
    options = ["--seed", "5", "--threads", "2", "--set", "mixing=cutmix", "--set", "learning_rate=.002"]
    options += ["--set", "vertical_flip=False", "--set", " batch_size = 8 ", "--set", "epochs=9"]
    assert run(["train", str(photos), "--model", arch, *FAST, *options, "--out", str(out)]) == 0
    captured = capsys.readouterr()
    first, second = captured.out.splitlines()
    assert first.startswith(f"{out}: 1 epoch in ")
    assert ", validation macro F1 " in first
    assert second == f"next: wisp export '{out}'"  # a command that can be copied
    assert captured.err == ""
    assert torch.get_num_threads() == 2
    trained = read_run(out)
    assert trained.is_complete
    assert trained.recipe == Recipe(
        image_size=16,
        epochs=1,  # the option wins over --set
        seed=5,
        mixing="cutmix",
        learning_rate=0.002,
        vertical_flip=False,
        batch_size=8,
    ).resolved(18)
    assert trained.arch == ARCH


def test_a_recipe_file_and_the_default_network(photos: Path, tmp_path: Path) -> None:
    recipe = EASY.replace(epochs=1, image_size=8, batch_size=4)
    recipe.save(tmp_path / "recipe.toml")
    options = ["--recipe", str(tmp_path / "recipe.toml"), "--seed", "2", "--device", "cpu"]
    assert run(["train", str(photos), *options, "--out", str(tmp_path / "run")]) == 0
    trained = read_run(tmp_path / "run")
    assert trained.recipe == recipe.replace(seed=2)
    assert trained.arch == named("wisp-2m", 3)


def test_epochs_left_open_are_written_down(
    photos: Path, arch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wisp.train.recipe._DEFAULT_STEPS", 6)
    options = ["--image-size", "16", "--set", "batch_size=8", "--device", "cpu"]
    assert run(["train", str(photos), "--model", arch, *options, "--out", str(tmp_path / "run")]) == 0
    assert read_run(tmp_path / "run").recipe.epochs == 3  # 18 photos, 2 steps an epoch
    # without a word about the network or the recipe, --resume takes the run's own
    assert run(["train", str(photos), "--out", str(tmp_path / "run"), "--resume", "--device", "cpu"]) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set", "learning_rate"], "--set learning_rate: write FIELD=VALUE, for instance --set"),
        (["--set", "learning_rat=1"], "recipe: unknown field 'learning_rat'; did you mean 'learning_rate'?"),
        (["--set", "self=1"], "recipe: unknown field 'self'"),
        (["--set", "mixing=blend"], "recipe: field 'mixing' = 'blend': "),
        (["--set", "learning_rate="], "recipe: field 'learning_rate' = '': "),
        (["--set", "learning_rate=nan"], "recipe: field 'learning_rate' = nan: "),
        (["--set", "erasing=[1]"], "recipe: field 'erasing' = [1]: "),
        (["--image-size", "2"], "recipe: field 'image_size' = 2: "),
        (["--epochs", "-1"], "recipe: field 'epochs' = -1: "),
        (["--seed", "-1"], "recipe: field 'seed' = -1: "),
        (["--recipe", "nowhere.toml"], "nowhere.toml: cannot read the recipe (No such file"),
        (["--model", "wisp-3m"], "no model is called 'wisp-3m'"),
        (["--model", "nowhere.json"], "nowhere.json: cannot be read"),
        (["--teacher", "nowhere"], "nowhere: not a run folder"),
        (["--pretrained", "nowhere.pth"], "nowhere.pth: no such weights file"),
    ],
)
def test_bad_options_leave_nothing_behind(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    out = tmp_path / "run"
    assert run(["train", str(photos), *options, "--out", str(out), "--device", "cpu"]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"wisp: {message}")
    assert err.count("\n") == 1
    assert not out.exists()


def test_places_that_cannot_be_the_run(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", str(photos), "--out", str(photos / "run")]) == 2
    assert "inside" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert run(["train", str(photos), *FAST, "--out", str(tmp_path / "file")]) == 2
    assert "is a file" in capsys.readouterr().err
    assert run(["train", str(tmp_path / "nowhere"), "--out", str(tmp_path / "run")]) == 2
    assert "no such folder" in capsys.readouterr().err
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    assert run(["train", str(photos), *FAST, "--out", str(tmp_path / "mine"), "--overwrite"]) == 2
    assert "holds 'letter.txt', which no run of wisp wrote" in capsys.readouterr().err
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"


def test_resume_and_overwrite(
    photos: Path, teacher: Path, arch: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", str(photos), "--model", arch, *FAST, "--out", str(tmp_path / "run")]
    assert run([*command, "--resume"]) == 0  # starts it where there is none
    assert same_bits(teacher, tmp_path / "run")
    first = capsys.readouterr().out
    before = (tmp_path / "run" / WEIGHTS).stat().st_mtime_ns
    assert run([*command, "--resume"]) == 0
    assert capsys.readouterr().out == first
    assert (tmp_path / "run" / WEIGHTS).stat().st_mtime_ns == before
    for options, message in (
        ([], "not empty; continue it with --resume"),
        (["--resume", "--seed", "3"], "was begun with seed = 0, not 3"),
        (["--resume", "--model", "resnet8"], "is another network than the one given"),
        (["--resume", "--teacher", str(teacher)], "was begun with no weights for --teacher"),
    ):
        assert run([*command, *options]) == 2
        err = capsys.readouterr().err
        assert message in err
        assert err.count("\n") == 1
    assert run([*command, "--overwrite", "--seed", "3"]) == 0
    assert read_run(tmp_path / "run").recipe.seed == 3


def test_a_damaged_checkpoint_is_one_line(
    photos: Path, arch: str, teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", str(photos), "--model", arch, *FAST, "--out", str(tmp_path / "run")]
    assert run(command) == 0
    (tmp_path / "run" / WEIGHTS).unlink()
    (tmp_path / "run" / CHECKPOINT).write_bytes(b"")
    capsys.readouterr()
    assert run([*command, "--resume"]) == 2
    assert capsys.readouterr().err.startswith(f"wisp: {tmp_path / 'run' / CHECKPOINT}: damaged checkpoint (")


def test_a_loss_that_is_no_number(
    photos: Path, arch: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--set", "learning_rate=1e30", "--set", "batch_size=4", "--out", str(tmp_path / "run")]
    assert run(["train", str(photos), "--model", arch, *FAST, *options]) == 1
    err = capsys.readouterr().err
    assert err.startswith("wisp: the loss is not a number any more")
    assert "lower learning_rate (now 1e+30)" in err
    assert err.count("\n") == 1


def test_unreadable_photos(arch: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = paint_photos(tmp_path / "photos", train=4, val=2)
    (root / "train" / "glass" / "0.png").write_bytes(b"no photo")
    command = ["train", str(root), "--model", arch, *FAST]
    assert run([*command, "--out", str(tmp_path / "run")]) == 2
    err = capsys.readouterr().err
    assert "0.png" in err
    assert "--skip-unreadable" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()  # so the command that was just recommended can be given
    assert run([*command, "--out", str(tmp_path / "run"), "--skip-unreadable"]) == 0
    # A finished run is not given up for photos that cannot be used.
    assert run([*command, "--out", str(tmp_path / "run"), "--overwrite"]) == 2
    assert read_run(tmp_path / "run").is_complete


def test_teachers(photos: Path, teacher: Path, arch: str, tmp_path: Path) -> None:
    command = ["train", str(photos), "--model", arch, *FAST]
    assert run([*command, "--teacher", str(teacher), "--out", str(tmp_path / "one")]) == 0
    two = ["--teacher", str(teacher), "--teacher", str(tmp_path / "one")]
    assert run([*command, *two, "--out", str(tmp_path / "two")]) == 0
    assert not same_bits(teacher, tmp_path / "one")
    data = json.loads((tmp_path / "two" / "data.json").read_text(encoding="utf-8"))
    assert len(set(data["teachers"])) == 2


def test_pretrained_weights_of_other_classes(
    photos: Path, arch: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(7)
    start = build(ARCH.with_classes(5)).state_dict()
    safetensors.torch.save_file(start, tmp_path / "start.safetensors")
    command = ["train", str(photos), "--model", arch, *FAST, "--set", "learning_rate=1e-12"]
    command += ["--set", "ema_decay=0", "--set", "weight_decay=0", "--out", str(tmp_path / "run")]
    assert run([*command, "--pretrained", str(tmp_path / "start.safetensors")]) == 0
    err = capsys.readouterr().err
    assert err.startswith("pretrained weights of another number of classes left out: ")
    assert err.count("\n") == 1
    left_out = err.split(": ")[1].strip().split(", ")
    model = read_run(tmp_path / "run").load_model()
    for name, value in model.named_parameters():
        if name not in left_out:
            torch.testing.assert_close(value.detach(), start[name], rtol=0, atol=1e-6)
    assert len(left_out) == 2


def test_the_run_repeats_from_its_own_files(photos: Path, teacher: Path, tmp_path: Path) -> None:
    options = ["--model", str(teacher), "--recipe", str(teacher / RECIPE), "--device", "cpu"]
    assert run(["train", str(photos), *options, "--out", str(tmp_path / "again")]) == 0
    assert same_bits(teacher, tmp_path / "again")


def test_interrupted_before_anything_is_saved(
    photos: Path,
    arch: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("wisp.train.loop.train", interrupted)
    command = ["train", str(photos), "--model", arch, *FAST, "--out", str(tmp_path / "run"), "--resume"]
    assert run(command) == 130
    assert capsys.readouterr().err.strip() == "wisp: interrupted"
    (tmp_path / "run" / CHECKPOINT).touch()
    assert run(command) == 130
    assert "run: saved; go on with --resume\n" in capsys.readouterr().err


SOURCE = """from torch import nn


def build(num_classes: int) -> nn.Module:
    norm = [nn.Conv2d(3, 6, 3, stride=2, bias=False), nn.BatchNorm2d(6), nn.ReLU()]
    return nn.Sequential(*norm, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, num_classes))
"""


def test_a_network_with_a_source_of_its_own_is_trained_resumed_exported_and_measured(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net, out = tmp_path / "net.py", tmp_path / "run"
    net.write_text(SOURCE, encoding="utf-8")
    assert run(["train", str(photos), "--model", str(net), *FAST, "--out", str(out)]) == 0
    assert (out / "model.py").read_text(encoding="utf-8") == SOURCE
    assert not (out / "arch.json").exists()
    net.unlink()  # the run has everything
    assert run(["train", str(photos), *FAST, "--out", str(out), "--resume"]) == 0
    assert run(["export", str(out)]) == 0
    capsys.readouterr()
    assert run(["evaluate", str(out), str(photos), "--split", "val", "--json"]) == 0
    assert 0 <= json.loads(capsys.readouterr().out)["f1_macro"] <= 1
    assert run(["macs", str(out), "--image-size", "16", "--counter", "all", "--json"]) == 0
    totals = json.loads(capsys.readouterr().out)
    assert totals["num_classes"] == 3


def test_a_source_that_cannot_be_used_leaves_no_run(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = tmp_path / "net.py"
    net.write_text(SOURCE.replace("num_classes)", "99)"), encoding="utf-8")
    assert run(["train", str(photos), "--model", str(net), *FAST, "--out", str(tmp_path / "run")]) == 2
    assert "it must give logits, (2, 3)" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_resume_and_overwrite_exclude_each_other(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--out", str(tmp_path / "run"), "--resume", "--overwrite"]
    assert run(["train", str(photos), *FAST, *options]) == 2
    assert "--resume and --overwrite" in capsys.readouterr().err

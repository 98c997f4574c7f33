"""What a training begins with: shipped weights, another run's, or none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from wisp.errors import ModelError
from wisp.files import file_sha256
from wisp.models import ArchSpec, SourceArch, build, find_start, named
from wisp.models.starts import pack_weights, shipped_weights, start_of_digest, unpack_weights
from wisp.models.zoo.wisp import Stage, Stem, WispOptions

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
SHIPPED = [path.stem for path in shipped_weights()]


def test_what_is_shipped_is_small_and_has_a_card() -> None:
    assert SHIPPED
    assert sum(path.stat().st_size for path in shipped_weights()) < 5_000_000
    for path in shipped_weights():
        card = path.with_suffix(".md").read_text(encoding="utf-8")
        assert f"{path.stat().st_size:,} bytes" in card
        assert "Tiny ImageNet" in card


@pytest.mark.parametrize("name", SHIPPED)
def test_a_named_network_begins_with_its_own_weights(name: str) -> None:
    arch = named(name, 6)
    start = find_start("pretrained", arch)
    assert start is not None
    assert (start.name, start.shipped) == (name, True)
    torch.manual_seed(0)
    model = build(arch).eval()
    classifier = model.classifier.weight.clone()
    transfer = start.fill(model, arch)
    assert set(transfer.left) == {"classifier.weight", "classifier.bias"}
    assert not transfer.partial
    assert torch.equal(model.classifier.weight, classifier)
    # features, not noise: what the head says of an image depends on all layers below it
    whole = build(start.arch).eval()
    whole.load_state_dict(start.weights, strict=False)
    assert torch.equal(
        model.head(model.blocks(model.stem(IMAGES))), whole.head(whole.blocks(whole.stem(IMAGES)))
    )


@pytest.mark.parametrize(
    ("activation", "start"), [("relu", "wisp-1m"), ("relu6", "wisp-1m"), ("hardswish", "wisp-1200k-se")]
)
def test_weights_go_to_networks_with_their_kind_of_activation(activation: str, start: str) -> None:
    """All layers of wisp-1m would fit each of these."""
    options = named("wisp-1m", 6).options.model_copy(update={"activation": activation})
    found = find_start("pretrained", ArchSpec(num_classes=6, options=options))
    assert found is not None
    assert found.name == start


def test_any_network_of_the_family_takes_what_fits() -> None:
    arch = ArchSpec(
        num_classes=9,
        options=WispOptions(
            stem=Stem(width=10, kernel=4, stride=4),
            stages=(
                Stage(width=16, depth=2, kernel=3, stride=2),
                Stage(width=28, depth=2, kernel=5, stride=2),
            ),
            head=64,
        ),
    )
    before = torch.get_rng_state()
    start = find_start("pretrained", arch)
    assert torch.equal(torch.get_rng_state(), before)  # looking for it changes no training
    assert start is not None
    model = build(arch)
    transfer = start.fill(model, arch)
    assert "stem.0.weight" in transfer.partial
    assert len(transfer.partial) > len(transfer.left)
    assert torch.isfinite(model.eval()(IMAGES)).all()
    assert find_start("pretrained", arch) == start


def test_nine_and_two_hundred_classes_are_alike() -> None:
    """A user's two hundred classes are not those of the shipped weights."""
    arch = named(SHIPPED[0], 200)
    start = find_start("pretrained", arch)
    assert start is not None
    assert "classifier.weight" in start.fill(build(arch), arch).left


def test_the_weights_of_a_run(tmp_path: Path) -> None:
    arch = named("wisp-250k", 5)
    torch.manual_seed(3)
    trained = build(arch)
    (tmp_path / "run").mkdir()
    arch.save(tmp_path / "run" / "arch.json")
    with pytest.raises(ModelError, match=r"run: the run is not finished"):
        find_start(str(tmp_path / "run"), arch)
    save_file(trained.state_dict(), tmp_path / "run" / "model.safetensors")
    start = find_start(str(tmp_path / "run"), arch)
    assert start is not None
    assert not start.shipped
    assert start.digest == file_sha256(tmp_path / "run" / "model.safetensors")
    again = build(arch)
    assert not start.fill(again, arch).left
    assert torch.equal(again.eval()(IMAGES), trained.eval()(IMAGES))
    wider = named("wisp-1m", 7)
    assert "classifier.weight" in start.fill(build(wider), wider).left


def test_scratch_is_nothing() -> None:
    assert find_start("scratch", named("wisp-1m", 6)) is None


@pytest.mark.parametrize(
    ("init", "model", "message"),
    [
        ("pretrained", "resnet8", "--init pretrained: no weights came with wisp for the family resnet8"),
        ("nowhere", "wisp-1m", "--init nowhere: no such run; give scratch, pretrained, or the folder"),
        (".", "wisp-1m", r"--init \.: no run folder: it holds no arch.json"),
    ],
)
def test_what_cannot_be_begun_with(
    init: str, model: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=message):
        find_start(init, named(model, 6))


def test_a_source_of_ones_own_has_its_own_weights() -> None:
    with pytest.raises(ModelError, match="your own source"):
        find_start("pretrained", SourceArch({"model.py": "def build(num_classes): ..."}, 6))


def test_shipped_weights_are_found_by_their_digest() -> None:
    for path in shipped_weights():
        start = start_of_digest(file_sha256(path))
        assert start is not None
        assert start.name == path.stem
    assert start_of_digest("0" * 64) is None


# One file


@pytest.mark.parametrize("data", [b"", b"\0" * 20, b"12345678" * 9])
def test_damaged_weights_are_one_line(data: bytes) -> None:
    with pytest.raises(ModelError, match="packed weights: damaged"):
        unpack_weights(data)


def test_weights_round_trip() -> None:
    arch = named("wisp-250k", 4)
    torch.manual_seed(0)
    state = build(arch).state_dict()
    back, same, is_super = unpack_weights(pack_weights(state, arch, elastic=True))
    assert is_super
    assert same == arch
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in state)

"""Edits make the shapes of a compressed network anew, and refuse what does not fit."""

import json

import pytest
import torch
from torch import nn

from wisp.errors import ModelError
from wisp.models import ArchSpec, SourceArch, build, named
from wisp.models.edits import Factor, Fold, Merge, Nothing, Resize, ResizeTensor, apply_edits, edited


def net():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.PReLU(8),
        nn.Conv2d(8, 16, 3, groups=8),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 5),
    )


NARROW = (
    Resize(layer="0", outputs=6),
    Resize(layer="1", outputs=6),
    Resize(layer="2", outputs=6),
    Resize(layer="3", inputs=6, outputs=12, groups=6),
    Resize(layer="6", inputs=12),
)


def test_resizing_keeps_the_first_rows_and_says_the_new_sizes():
    model, original = net(), net()
    model.load_state_dict(original.state_dict())
    apply_edits(model, NARROW)
    assert [model[0].out_channels, model[1].num_features, model[2].num_parameters] == [6, 6, 6]
    assert [model[3].in_channels, model[3].out_channels, model[3].groups] == [6, 12, 6]
    assert (model[6].in_features, model[6].out_features) == (12, 5)
    torch.testing.assert_close(model[6].weight, original[6].weight[:, :12])
    torch.testing.assert_close(model[1].running_var, original[1].running_var[:6])
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert model(torch.randn(2, 3, 8, 8)).shape == (2, 5)


def test_a_folded_norm_leaves_a_bias():
    model = net()
    apply_edits(model, [Fold(layer="0", norm="1")])
    assert isinstance(model[1], nn.Identity)
    assert torch.equal(model[0].bias, torch.zeros(8))


MERGED = Merge(
    layer="first",
    dropped=("second",),
    inputs=3,
    outputs=4,
    kernel=(3, 3),
    stride=(1, 1),
    padding=(1, 1),
    dilation=(1, 1),
    groups=1,
)


def test_a_merged_branch_leaves_nothing():
    model = nn.ModuleDict({"first": nn.BatchNorm2d(3), "second": nn.Conv2d(3, 4, 1)})
    apply_edits(model, [MERGED])
    assert isinstance(model["second"], Nothing)
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(model["first"](images) + model["second"](images), model["first"](images))
    assert model["first"](images).shape == (2, 4, 8, 8)
    assert model["first"].bias is not None


def test_factored_layers_keep_their_geometry():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 5, stride=2, padding=4, dilation=2, padding_mode="reflect"),
        nn.Conv2d(8, 6, 1, stride=2, bias=False),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 4),
    )
    images = torch.randn(2, 3, 17, 17)
    shapes = [model[:1](images).shape, model[:2](images).shape]
    apply_edits(
        model, [Factor(layer="0", ranks=(2, 3)), Factor(layer="1", ranks=(2,)), Factor(layer="4", ranks=(3,))]
    )
    assert [model[:1](images).shape, model[:2](images).shape] == shapes
    assert [tuple(layer.weight.shape) for layer in model[0]] == [(2, 3, 1, 1), (3, 2, 5, 5), (8, 3, 1, 1)]
    assert model[0][1].padding_mode == "reflect"
    assert [layer.bias is not None for layer in (*model[0], *model[1], *model[4])] == [
        *(False, False, True),
        *(False, False),
        *(False, True),
    ]


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.arange(6.0).reshape(1, 6, 1, 1))


def test_a_parameter_of_the_networks_own_is_cut():
    model = Scaled()
    apply_edits(model, [ResizeTensor(tensor="gain", shape=(1, 4, 1, 1))])
    assert model.gain.flatten().tolist() == [0, 1, 2, 3]
    assert isinstance(model.gain, nn.Parameter)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (Resize(layer="9", outputs=2), "no layer '9'"),
        (Resize(layer="0", outputs=9), "cannot be cut"),
        (Resize(layer="4", outputs=1), "cannot be resized"),
        (Resize(layer="3", inputs=7), "7 to 16 channels in 8 groups"),
        (Fold(layer="1", norm="0"), "cannot be folded"),
        (MERGED.model_copy(update={"layer": "0", "dropped": ("7",)}), "no layer '7'"),
        (MERGED.model_copy(update={"layer": "0", "dropped": ("1",), "groups": 2}), "in 2 groups"),
        (Factor(layer="3", ranks=(2, 2)), "cannot be factored"),
        (Factor(layer="6", ranks=(6,)), "cannot be factored"),
        (Factor(layer="6", ranks=(2, 2)), "cannot be factored"),
        (ResizeTensor(tensor="nowhere.gain", shape=(1,)), "no layer 'nowhere'"),
        (ResizeTensor(tensor="0.weight", shape=(1, 1, 1, 1, 1)), "5 axes"),
    ],
    ids=str,
)
def test_an_edit_that_does_not_fit_is_one_line_with_its_number(edit, words):
    with pytest.raises(ModelError, match=r"^edits\[1\]: ") as caught:
        apply_edits(net(), [Resize(layer="0", outputs=8), edit])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_spec_with_edits_is_json_and_builds_the_smaller_network(tmp_path):
    spec = named("resnet8", 4)
    small = spec.with_edits([Resize(layer="fc", inputs=60), Resize(layer="stages.2.conv2", outputs=60)])
    assert "edits" not in spec.to_json()
    assert small != spec
    small.save(tmp_path / "arch.json")
    assert ArchSpec.load(tmp_path / "arch.json") == small
    assert hash(ArchSpec.load(tmp_path / "arch.json")) == hash(small)
    assert small.to_json()["edits"][0] == {"edit": "resize", "layer": "fc", "inputs": 60}
    assert build(small).fc.in_features == 60
    assert build(small.with_classes(7)).fc.out_features == 7
    with pytest.raises(ModelError, match="no closed form"):
        small.macs(32)


@pytest.mark.parametrize(
    ("edits", "line"),
    [
        ([{"edit": "explode"}], "arch.json: edits[0].edit: unknown edit 'explode'"),
        ([{"layer": "fc"}], "arch.json: edits[0].edit: missing; it names the edit"),
        ([{"edit": "resize", "layer": "fc", "inputs": 0}], "arch.json: edits[0].inputs: "),
        ([{"edit": "resize", "layer": "fc", "input": 5}], "arch.json: edits[0].input: unknown field"),
        ("none", "arch.json: edits: "),
    ],
    ids=str,
)
def test_edits_that_make_no_sense_are_one_line(edits, line):
    with pytest.raises(ModelError) as caught:
        ArchSpec.from_json({**named("resnet8", 4).to_json(), "edits": edits}, where="arch.json")
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


SOURCE = """
from torch import nn

edited = None  # a name that what is added must not touch

def build(num_classes=3):
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes))

if __name__ == "__main__":
    raise SystemExit
"""


def test_a_source_is_edited_at_its_end_as_often_as_needed():
    source = SourceArch(SOURCE, 4)
    first = source.with_edits([Resize(layer="0", outputs=6), Resize(layer="3", inputs=6)])
    second = first.with_edits([Factor(layer="3", ranks=(2,))])
    assert second.text.startswith(SOURCE.rstrip())
    assert source.build()[3].weight.shape == (4, 8)
    assert first.build()[3].weight.shape == (4, 6)
    assert [layer.weight.shape for layer in second.build()[3]] == [(2, 6), (4, 2)]


def test_a_builder_keeps_its_arguments():
    build_small = edited(
        lambda num_classes=3: nn.Sequential(nn.Linear(4, num_classes)),
        json.loads('[{"edit": "resize", "layer": "0", "inputs": 2}]'),
    )
    assert build_small(num_classes=5)[0].weight.shape == (5, 2)
    assert build_small()[0].weight.shape == (3, 2)

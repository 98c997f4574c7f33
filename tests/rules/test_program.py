"""A program written down and run elsewhere gives the same answers and counts; a hostile one gives one line."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import torch
from collection import HONEST, SIDE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from wisp.errors import ModelError
from wisp.macs import count_exact, count_macs
from wisp.models import build, named
from wisp.models.source import load_source
from wisp.rules.program import run_program, write_program


def _images(side: int = SIDE) -> Tensor:
    return torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def written() -> tuple[dict[str, Any], dict[str, Tensor]]:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    return write_program(model.eval(), _images()[:1])


@pytest.mark.parametrize("path", HONEST[::4], ids=lambda path: path.stem)
def test_an_honest_source_is_what_its_program_is(path: Any) -> None:
    torch.manual_seed(0)
    model = load_source(path, 9).eval()
    program, tensors = write_program(model, _images()[:1])
    found = run_program(json.loads(json.dumps(program)), tensors, _images())
    with torch.no_grad():
        assert torch.allclose(found.answers, model(_images()), atol=1e-5)
    assert found.macs == count_exact(model, SIDE).total
    assert found.unknown == ()
    assert found.least_official <= count_macs(model, SIDE).total


@pytest.mark.parametrize("name", ["wisp-250k", "mobilenet_v3_small-0.25", "squeezenet1_1-0.25"])
def test_our_networks_are_what_their_programs_are(name: str) -> None:
    torch.manual_seed(0)
    model = build(named(name, 9)).eval()
    program, tensors = write_program(model, _images(32)[:1])
    found = run_program(json.loads(json.dumps(program)), tensors, _images(32))
    with torch.no_grad():
        assert torch.allclose(found.answers, model(_images(32)), atol=1e-4)
    assert found.macs == count_exact(model, 32).total
    official = count_macs(model, 32).total
    assert found.least_official <= official
    assert found.least_official >= 0.97 * official  # pools aside, hooks see no more


def test_functional_work_shows_in_what_hooks_must_see() -> None:
    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4, 3, 3, 3))

        def forward(self, images: Tensor) -> Tensor:
            return nn.functional.conv2d(images, self.weight).mean((2, 3))

    program, tensors = write_program(Hidden().eval(), _images()[:1])
    assert run_program(program, tensors, _images()).least_official == 14 * 14 * 4 * 27
    assert count_macs(Hidden(), SIDE).total == 0


def test_what_cannot_be_captured_says_so() -> None:
    class Branches(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images if images.sum() > 0 else -images

    with pytest.raises(ModelError, match="cannot be captured"):
        write_program(Branches(), _images()[:1])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"operator": "aten::from_file.default"}, "no network is known to need|unknown operator"),
        ({"operator": "aten::nothing.default"}, "unknown operator"),
        ({"operator": "os::system.default"}, "unknown operator"),
        ({"operator": "aten::__class__.default"}, "unknown operator"),
        ({"operator": "conv2d"}, "unknown operator"),
        ({"args": []}, "does not run"),
        ({"args": [{"node": 99}]}, "does not run"),
        ({"args": [{"file": "x"}]}, "an argument that is none"),
        ({"args": [{"dtype": "load"}]}, "an argument that is none"),
        ({"args": [{"dtype": "__dict__"}]}, "an argument that is none"),
        ({"kwargs": []}, "does not run"),
        ({"operator": "aten::empty.memory_format", "args": [[10**12]], "kwargs": {}}, "does not run"),
    ],
)
def test_a_hostile_step_is_one_line(written: Any, change: dict[str, Any], words: str) -> None:
    program, tensors = copy.deepcopy(written)
    program["nodes"][0] |= change
    with pytest.raises(ModelError, match=words) as caught:
        run_program(program, tensors, _images())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", ["inputs", "nodes", "output"])
def test_an_incomplete_program_is_one_line(written: Any, missing: str) -> None:
    program, tensors = copy.deepcopy(written)
    del program[missing]
    with pytest.raises(ModelError, match="does not run"):
        run_program(program, tensors, _images())
    with pytest.raises(ModelError, match="does not run"):
        run_program(written[0], {}, _images())


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_mangled_program_never_crashes(written: Any, data: st.DataObject) -> None:
    program, tensors = copy.deepcopy(written)
    node = data.draw(st.sampled_from(program["nodes"]))
    key = data.draw(st.sampled_from(sorted(node)))
    small = st.integers(-3, 40)
    node[key] = data.draw(
        st.one_of(
            st.none(),
            small,
            st.text(max_size=8),
            st.lists(
                st.one_of(small, st.builds(lambda n: {"node": n}, small), st.lists(small, max_size=3)),
                max_size=4,
            ),
            st.dictionaries(st.sampled_from(["node", "text", "dtype", "x"]), small, max_size=2),
        )
    )
    message = ""
    try:
        run_program(program, tensors, _images())
    except ModelError as error:
        message = str(error)
    assert "\n" not in message

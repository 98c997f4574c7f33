from __future__ import annotations

from collections import OrderedDict, namedtuple
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from wisp.macs.tensors import tensors_of

A, B, C = torch.zeros(1), torch.ones(2), nn.Parameter(torch.ones(3))
Pair = namedtuple("Pair", ["left", "right"])


class Row(list[Tensor]):
    """No structure that torch knows."""


@pytest.mark.parametrize(
    "value",
    [
        A,
        (),
        None,
        (A, 1, [B, None, (C, "text", torch.float32)], {"b": B, "a": [A, 2.0]}),
        Pair(B, (A, 1.5)),
        OrderedDict(second=[C], first=A),
        torch.max(torch.ones(2, 2), dim=1),
        torch.Size([1, 2]),
        Row([A, B]),
        [slice(None), A, (torch.Generator(), C)],
    ],
    ids=lambda value: type(value).__name__,
)
def test_are_torchs_leaves_in_order(value: Any) -> None:
    expected = [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]
    assert [id(tensor) for tensor in tensors_of(value)] == [id(tensor) for tensor in expected]


def test_of_several_values() -> None:
    assert [id(tensor) for tensor in tensors_of((A, 1), {"b": [B]}, C)] == [id(A), id(B), id(C)]

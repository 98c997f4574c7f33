"""A second opinion: the groups of Torch-Pruning's dependency graph (Fang et al., 2023).

Version 1.6.1 is right on all families but ShuffleNetV2: there it fails while it prunes a stage
or leaves a network that does not run, so it is no judge of that one.
"""

import pytest
import torch
from compress_networks import families, family
from torch import nn

from wisp.compress.channels import find_channels
from wisp.compress.labels import COLUMNS, ROWS

torch_pruning = pytest.importorskip("torch_pruning")
SIZE = 32
JUDGED = [name for name in families() if not name.startswith("shufflenet")]


def ours(model):
    channels = find_channels(model, SIZE)
    groups = [set() for _ in range(channels.n_groups)]
    for role in (ROWS, COLUMNS):
        for name, _, classes in channels.weights(role):
            for group in channels.group_of[classes[classes >= 0]].unique().tolist():
                groups[group].add((name.removesuffix(".weight"), role))
    return {frozenset(group) for group in groups}


def theirs(model):
    graph = torch_pruning.DependencyGraph()
    graph.build_dependency(model, example_inputs=torch.randn(2, 3, SIZE, SIZE))
    names = {module: name for name, module in model.named_modules()}
    classifier = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)][-1]
    found = set()
    for group in graph.get_all_groups(ignored_layers=[classifier], root_module_types=[nn.Conv2d, nn.Linear]):
        members = set()
        for item in group:
            layer = item.dep.target.module
            if isinstance(layer, nn.Conv2d | nn.Linear):
                depthwise = isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels > 1
                is_output = depthwise or "out_channels" in item.dep.handler.__name__
                members.add((names[layer], ROWS if is_output else COLUMNS))
        found.add(frozenset(members))
    return found


def test_there_are_families_to_judge():
    assert len(JUDGED) >= 6


@pytest.mark.parametrize("name", JUDGED)
def test_both_find_the_same_groups(name):
    model = family(name)
    groups = ours(model)
    assert len(groups) > 5
    assert groups == theirs(model)

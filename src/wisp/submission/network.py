"""arch.json and weights.safetensors of a submission: one network, and the costs that the manifest claims for it.

A network that is data is built by wisp's own code, so nothing of the submission runs here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from wisp import strict_json
from wisp.errors import ModelError, SubmissionError
from wisp.records import Violation
from wisp.submission.contents import ARCH, WEIGHTS
from wisp.submission.layout import PACK_AGAIN, printable
from wisp.submission.manifest import Manifest
from wisp.submission.tensors import Tensor, read_tensors

if TYPE_CHECKING:
    from torch import nn

    from wisp.models import ArchSpec

LARGEST_RECOUNT = (
    500_000_000  # MACs; running a larger network takes gigabytes, and none is submitted as a small one
)
_TYPES = {
    "float32": "F32",
    "int64": "I64",
    "float16": "F16",
    "bfloat16": "BF16",
    "bool": "BOOL",
    "uint8": "U8",
}


def read_arch(text: bytes) -> ArchSpec:
    """The network that arch.json describes.

    Raises:
        SubmissionError: it describes none; the message has no file name.
    """
    from wisp.models import ArchSpec  # noqa: PLC0415  (torch)

    try:
        return ArchSpec.from_json(strict_json.loads(text), where="it")
    except (strict_json.StrictJsonError, ModelError) as error:
        raise SubmissionError(str(error).removeprefix("it: ")) from error


def check_network(arch: bytes, weights: bytes, manifest: Manifest) -> Iterator[Violation]:
    """The network builds to the weights' shapes, and has the classes, parameters and MACs of the manifest."""
    try:
        spec = read_arch(arch)
    except SubmissionError as error:
        yield _violation("arch", ARCH, printable(str(error)))
        return
    try:
        tensors = read_tensors(weights)
    except SubmissionError:
        return  # reported where the weights are checked for themselves
    if spec.num_classes != len(manifest.classes):
        yield _violation(
            "classes", ARCH, f"{spec.num_classes:,} classes, the manifest has {len(manifest.classes):,}"
        )
        return
    try:
        problem = _misfit(spec, tensors)
    except ModelError as error:  # its edits name layers that it does not have, say
        problem = str(error)
    if problem:
        yield _violation("arch", ARCH, f"does not build to the weights: {printable(problem)}")
        return
    yield from _check_costs(spec, manifest)


def _misfit(spec: ArchSpec, tensors: Mapping[str, Tensor]) -> str:
    """The first difference between the tensors that the network has and those that are there; empty where none."""
    expected = {
        name: (_TYPES.get(str(tensor.dtype).removeprefix("torch."), str(tensor.dtype)), tuple(tensor.shape))
        for name, tensor in _without_memory(spec).state_dict().items()
    }
    for name, (dtype, shape) in expected.items():
        if name not in tensors:
            return f"there are no weights for {name}"
        if (tensors[name].dtype, tensors[name].shape) != (dtype, shape):
            return f"{name} is {dtype} {shape}, the weights have {tensors[name].dtype} {tensors[name].shape}"
    unknown = sorted(set(tensors) - set(expected))
    return f"it has no {unknown[0]}" if unknown else ""


def _without_memory(spec: ArchSpec) -> nn.Module:
    """The network with shapes alone: whatever its widths, it takes no memory."""
    import torch  # noqa: PLC0415

    from wisp.models import build  # noqa: PLC0415

    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        return build(spec)


def _check_costs(spec: ArchSpec, manifest: Manifest) -> Iterator[Violation]:
    """Parameters and MACs, recounted. The weights fit, so the network is not larger than they are."""
    from wisp.macs import count_exact, count_macs  # noqa: PLC0415  (torch)
    from wisp.models.folding import fold_batchnorm  # noqa: PLC0415

    params = sum(parameter.numel() for parameter in _without_memory(spec).parameters())
    if params != manifest.params:
        yield _violation("params", ARCH, f"{params:,} parameters; the manifest claims {manifest.params:,}")
    claimed = manifest.macs
    try:
        # Before the network takes any memory: in closed form, which a compressed one does not have.
        official = (
            count_macs(_without_memory(spec), manifest.image_size).total
            if spec.edits
            else spec.macs(manifest.image_size)
        )
        if official != claimed.official:
            message = f"the manifest claims {claimed.official:,} MACs (official); counted are {official:,}"
            yield _violation("macs", ARCH, message)
        if official > LARGEST_RECOUNT:
            yield _violation("macs", ARCH, f"{official:,} MACs; at most {LARGEST_RECOUNT:,} are recounted")
            return
        network = _with_memory(spec)
        deployed = count_macs(fold_batchnorm(network, manifest.image_size), manifest.image_size).total
        exact = count_exact(network, manifest.image_size)
    except ModelError as error:
        yield _violation("arch", ARCH, printable(str(error)))
        return
    for counter, said, here in (
        ("deployed", (claimed.deployed, True), (deployed, True)),
        ("exact", (claimed.exact, claimed.exact_complete), (exact.total, exact.complete)),
    ):
        if said != here:
            message = f"the manifest claims {said[0]:,} MACs ({counter}); counted are {here[0]:,}"
            yield _violation("macs", ARCH, message)


def _with_memory(spec: ArchSpec) -> nn.Module:
    """The network as it is in the end, with numbers in it: edits may shrink what would be huge before them."""
    import torch  # noqa: PLC0415

    network = _without_memory(spec).to_empty(device="cpu").eval()
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.fill_(1)
    return network


def network_probabilities(
    arch: bytes, weights: bytes, images: npt.NDArray[np.uint8]
) -> npt.NDArray[np.float32]:
    """What the weights in the network answer, by torch; both have passed `check_network`.

    Args:
        arch: arch.json.
        weights: weights.safetensors.
        images: uint8, N x size x size x 3, RGB.

    Returns:
        float32, N x classes.
    """
    import safetensors.torch  # noqa: PLC0415
    import torch  # noqa: PLC0415

    from wisp.data.augment import MEAN, STD  # noqa: PLC0415

    network = _with_memory(read_arch(arch))
    network.load_state_dict(safetensors.torch.load(weights))
    mean, std = torch.tensor(MEAN).reshape(1, 3, 1, 1), torch.tensor(STD).reshape(1, 3, 1, 1)
    with torch.inference_mode():
        pixels = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float()
        logits = network((pixels / 255 - mean) / std)
        answers: npt.NDArray[np.float32] = torch.softmax(logits, dim=1).numpy()
    return answers


def check_weights(weights: bytes) -> Iterator[Violation]:
    """The weights are a plain safetensors file."""
    try:
        read_tensors(weights)
    except SubmissionError as error:
        yield _violation("weights", WEIGHTS, printable(str(error)))


def _violation(rule: str, path: str, message: str) -> Violation:
    return Violation(rule, "violation", path, None, message, PACK_AGAIN)

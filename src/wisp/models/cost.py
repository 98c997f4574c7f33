"""What a wisp network costs, in closed form: nothing is built, so a search can refuse a network before it trains.

The counts are exact, the file size is an upper estimate a few kilobytes above the file, and the memory is that of a
runtime that runs one layer at a time on one image, float32: a tensor lives until its last reader has run, activation
functions, the residual addition and the squeeze-excite product write over their input (as ONNX Runtime and
microcontroller runtimes do), and BatchNorm is folded away.
"""

from __future__ import annotations

from dataclasses import dataclass

from wisp.models.inverted_residual import Block
from wisp.models.layers import out_size
from wisp.models.zoo.wisp import WispOptions

_FLOAT_BYTES = 4
# Bytes of the .onnx beside its weights, measured on exported files and rounded up.
_FILE_BYTES, _CONV_BYTES, _ADD_BYTES, _GATE_BYTES = 4096, 310, 110, 600


@dataclass(frozen=True, slots=True)
class Cost:
    """The price of one network at one input size.

    Attributes:
        macs_as_trained: multiply-accumulates of one image by the competition's counter, BatchNorm as layers.
        macs: the same of the deployed network, BatchNorm folded: the figure that is scored.
        params: parameters of the deployed network.
        size_bytes: the `.onnx`, at most.
        memory_bytes: peak memory of activations for one image, the normalised input included.
        last_map: side of the map that is pooled, in positions.
    """

    macs_as_trained: int
    macs: int
    params: int
    size_bytes: int
    memory_bytes: int
    last_map: int


def cost(options: WispOptions, num_classes: int, image_size: int) -> Cost:
    """The cost of the network that `options` describe, on square images of `image_size` pixels.

    Raises:
        ModelError: the image is too small for the network.
    """
    stem = options.stem
    size = out_size(image_size, stem.kernel, stem.stride)
    normed = stem.width * size**2  # values that a BatchNorm sees: each loses one of its two MACs when folded
    params = (3 * stem.kernel**2 + 1) * stem.width
    peak = 3 * image_size**2 + stem.width * size**2
    convs, file_bytes = 1, _FILE_BYTES
    for block in options.blocks():
        normed += _normed(block, size)
        params += _params(block)
        peak = max(peak, _peak(block, size))
        convs += 2 + block.expands
        file_bytes += block.residual * _ADD_BYTES
        if block.squeezed:
            convs += 2
            file_bytes += _GATE_BYTES
        size = out_size(size, block.kernel, block.stride)
    channels = options.stages[-1].width
    if options.head:
        normed += options.head * size**2
        params += (channels + 1) * options.head
        peak = max(peak, (channels + options.head) * size**2)
        convs += 1
        channels = options.head
    params += (channels + 1) * num_classes
    peak = max(peak, channels * (size**2 + 1), channels + num_classes)
    macs = options.macs(num_classes, image_size)
    return Cost(
        macs_as_trained=macs,
        macs=macs - normed,
        params=params,
        size_bytes=_FLOAT_BYTES * params + file_bytes + convs * _CONV_BYTES,
        memory_bytes=_FLOAT_BYTES * peak,
        last_map=size,
    )


def _normed(block: Block, size: int) -> int:
    """Values of one image that pass a BatchNorm in the block."""
    after = out_size(size, block.kernel, block.stride)
    expanded = block.hidden * size**2 if block.expands else 0
    return expanded + (block.hidden + block.out_channels) * after**2


def _params(block: Block) -> int:
    """Weights and biases of the block, BatchNorm folded."""
    total = (block.in_channels + 1) * block.hidden if block.expands else 0
    total += (block.kernel**2 + 1) * block.hidden
    if block.squeezed:
        total += (block.hidden + 1) * block.squeezed + (block.squeezed + 1) * block.hidden
    return total + (block.hidden + 1) * block.out_channels


def _peak(block: Block, size: int) -> int:
    """The most values that are alive at once while the block runs."""
    after = out_size(size, block.kernel, block.stride)
    entering = block.in_channels * size**2
    kept = entering if block.residual else 0  # the shortcut waits for its addition
    hidden = block.hidden * size**2
    filtered = block.hidden * after**2
    peaks = [kept + filtered + block.out_channels * after**2]
    if block.expands:
        peaks += [entering + hidden, kept + hidden + filtered]
    else:
        peaks.append(entering + filtered)
    if block.squeezed:
        peaks.append(kept + filtered + block.hidden + block.squeezed)
    return max(peaks)

"""Exact MACs: of the whole program, whatever it is made of, and never a silent zero."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wisp.errors import ModelError
from wisp.macs.capture import trace_exported, watch_without_values
from wisp.macs.dispatch import eager_paths, watch
from wisp.macs.ledger import Ledger, Place
from wisp.macs.report import ProgramReport
from wisp.macs.trace import check_countable, untouched

_WHOLE = Place("", None)
DIFFERS = (
    "it does something else when it is traced: {traced.macs:,} MACs and {traced.elementwise:,} other operations "
    "instead of {real.macs:,} and {real.elementwise:,}; the larger count is given"
)
NEEDS_VALUES = "it cannot be traced without values, so other images may cost more ({})"


def count_exact(model: nn.Module, image_size: int, channels: int = 3) -> ProgramReport:
    """All multiply-accumulates that `model` does for one square image in evaluation mode.

    The program is captured three times: as it runs on a noise image, with torch.export, and, where that fails, on
    tensors without values. The first shows what really runs, the others prove that it is the same for any image;
    where the proof fails, or two of them differ, the report says so in `unknown`. The model is left exactly as it was.

    Args:
        model: Any module that takes a float batch 1 x channels x image_size x image_size.
        image_size: Side of the image in pixels.
        channels: Channels of the image.

    Raises:
        ModelError: the model cannot run on an image of this size.
    """
    check_countable(model, image_size, channels)
    image = _noise(model, image_size, channels)
    try:
        with untouched(model), eager_paths():
            real = watch(model, image)
    except Exception as error:  # the model's own code may raise anything
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ModelError(
            f"{type(model).__name__} cannot run on a {image_size} x {image_size} image with {channels} channels; "
            f"try a larger size ({reason})"
        ) from error
    ledger, method = _proved(model, image, real)
    modules = dict(model.named_modules())
    return ledger.report(
        method=method,
        params=sum(parameter.numel() for parameter in model.parameters()),
        kinds={name: type(module).__name__ for name, module in modules.items()},
        params_of=lambda layer: (
            sum(parameter.numel() for parameter in modules[layer].parameters(recurse=False))
            if layer in modules
            else 0
        ),
    )


def _noise(model: nn.Module, image_size: int, channels: int) -> Tensor:
    """An image unlike a blank one: a network that does nothing where it sees zeros shall not look cheap."""
    parameter = next((p for p in model.parameters() if p.is_floating_point()), None)
    image = torch.randn(
        (1, channels, image_size, image_size), generator=torch.Generator().manual_seed(0), device="cpu"
    )
    return image if parameter is None else image.to(parameter)


def _proved(model: nn.Module, image: Tensor, real: Ledger) -> tuple[Ledger, str]:
    """The count of the plain run, which knows the source lines best, and how it was proved; or why it was not."""
    failure = ""
    for method, trace in (("export", trace_exported), ("dispatch", watch_without_values)):
        try:
            with untouched(model), eager_paths():
                traced = trace(model, image)
        except Exception as error:  # torch.export has no common class of errors
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            failure = lines[0] if lines else type(error).__name__
            continue
        if (traced.macs, traced.elementwise) == (real.macs, real.elementwise):
            larger, other = real, traced
        else:
            larger, other = sorted(
                (real, traced), key=lambda ledger: (ledger.macs, ledger.elementwise), reverse=True
            )
            larger.miss("program", _WHOLE, DIFFERS.format(real=real, traced=traced))
        known = {operator for operator, _, _ in larger.unknown}
        larger.unknown.update({item: calls for item, calls in other.unknown.items() if item[0] not in known})
        return larger, method
    real.miss("program", _WHOLE, NEEDS_VALUES.format(failure))
    return real, "dispatch"

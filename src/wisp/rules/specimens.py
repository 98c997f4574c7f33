"""Networks to be judged, made from a function that makes them: with weights that let every layer show."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from wisp.errors import ModelError
from wisp.rules.subject import seed


def make_two(
    make: Callable[[], nn.Module], images: Tensor, weights: Mapping[str, Tensor] | None
) -> tuple[nn.Module, nn.Module]:
    """Two new networks with the same weights, in evaluation mode.

    Args:
        make: gives a new network.
        images: what batch norms are fitted to where there are no weights.
        weights: theirs. None: random ones, no layer zero.

    Raises:
        ModelError: it cannot be made, or takes no such weights.
    """
    try:
        networks = []
        for _ in range(3):
            seed()
            networks.append(make())
        donor, *two = networks
        strict = True
        if weights is None:
            _randomise(donor, images)
            weights, strict = donor.state_dict(), False  # a network that grows is told below
        for network in two:
            network.load_state_dict(dict(weights), strict=strict)
            network.eval()
    except ModelError:
        raise
    except Exception as error:  # the network's own code may raise anything
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ModelError(f"cannot be judged: it cannot be made ({reason})") from error
    return two[0], two[1]


@torch.no_grad()
def _randomise(model: nn.Module, images: Tensor) -> None:
    """Weights that let every layer show: a branch that begins at zero would hide what it does."""
    generator = torch.Generator().manual_seed(7)
    for parameter in model.parameters():
        if not parameter.is_floating_point():
            continue
        noise = torch.randn(parameter.shape, generator=generator).to(parameter)
        if parameter.dim() > 1:
            parameter.copy_(noise * (1.6 / max(1, parameter[0].numel())) ** 0.5)
        else:
            parameter.add_(0.2 * noise)
            parameter.add_(0.3 * (parameter.abs() < 0.1))
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    try:
        seed()
        model.train()(images)
    except Exception:  # then it runs with the statistics that it was made with
        return
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum

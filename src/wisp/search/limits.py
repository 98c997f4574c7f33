"""What a network may cost at most, checked before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from wisp.errors import RecipeError
from wisp.models.cost import Cost
from wisp.search.candidate import Candidate

# attribute of Limits -> attribute of Cost, and how users know it
_CLOSED_FORM: Mapping[str, tuple[str, str, str]] = MappingProxyType(
    {
        "macs": ("macs_as_trained", "--max-macs", "MACs"),
        "params": ("params", "--max-params", "parameters"),
        "size_bytes": ("size_bytes", "--max-bytes", "bytes of .onnx"),
        "memory_bytes": ("memory_bytes", "--max-memory", "bytes of activations"),
    }
)


@dataclass(frozen=True)
class Limits:
    """Upper limits of a network's cost; None for no limit.

    Attributes:
        macs: multiply-accumulates of one image, as trained.
        params: parameters of the deployed network.
        size_bytes: the `.onnx`.
        memory_bytes: peak memory of activations, float32, one image (see `wisp.models.cost`).
        latency_ms: of one image, as `measure` says.
        measure: milliseconds that one image takes; asked only of networks within all other limits.

    Raises:
        RecipeError: a limit that is not above zero.
        ValueError: a latency without a way to measure it.
    """

    macs: int | None = None
    params: int | None = None
    size_bytes: int | None = None
    memory_bytes: int | None = None
    latency_ms: float | None = None
    measure: Callable[[Candidate], float] | None = None

    def __post_init__(self) -> None:
        for name, (_, option, _) in _CLOSED_FORM.items():
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise RecipeError(f"{option} {value}: must be above 0")
        if self.latency_ms is not None:
            if not self.latency_ms > 0:
                raise RecipeError(f"--max-latency {self.latency_ms}: must be above 0")
            if self.measure is None:
                raise ValueError("a latency limit needs `measure`")

    @property
    def any_closed_form(self) -> bool:
        """Whether something is limited that needs no measurement."""
        return any(getattr(self, name) is not None for name in _CLOSED_FORM)

    def excess(self, cost: Cost) -> float:
        """The largest ratio of a cost to its limit, latency aside: at most 1 where all are kept, 0 without limits."""
        return max((value / limit for value, limit, _, _ in self._pairs(cost)), default=0.0)

    def explain(self, cost: Cost) -> str:
        """One line for a user whose limits no network meets; `cost` is that of the nearest one."""
        broken = [
            f"{option} {limit:,} (nearest: {value:,} {unit})"
            for value, limit, option, unit in self._pairs(cost)
            if value > limit
        ]
        kept = [f"{value:,} {unit}" for value, limit, _, unit in self._pairs(cost) if value <= limit]
        also = f", at {' and '.join(kept)}" if kept else ""
        return f"no network of the space is that cheap: {', '.join(broken)}{also}"

    def _pairs(self, cost: Cost) -> Iterator[tuple[int, int, str, str]]:
        """(cost, limit, option, unit) of what is limited."""
        for name, (attribute, option, unit) in _CLOSED_FORM.items():
            limit = getattr(self, name)
            if limit is not None:
                yield getattr(cost, attribute), limit, option, unit

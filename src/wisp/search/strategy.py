"""What a strategy is: it proposes trainings and is told what came of them. It trains nothing and knows no clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol, Self

from wisp.search.space import Genes


@dataclass(frozen=True, slots=True)
class Proposal:
    """One training that a strategy wants.

    Attributes:
        genes: the network and its input size.
        epochs: passes over the photos in this training; 0: only measure what the start's weights are worth.
        start: number of the trial whose weights it begins with, as far as they fit; None for random ones.
        elastic: train it so that its sub-networks work too (a supernet).
    """

    genes: Genes
    epochs: int
    start: int | None = None
    elastic: bool = False

    def to_json(self) -> dict[str, Any]:
        """A dictionary that `json.dumps` takes."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        return cls(**{**value, "genes": tuple(value["genes"])})


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a proposal.

    Attributes:
        f1: macro F1 on the validation photos, 0..1; 0 where the training failed.
        macs: of the deployed network, one image.
        seconds: that the training took.
        error: why it failed; empty where it did not.
        setup_seconds: of these seconds, those beside training and validation: reading photos, building the network,
            handing its weights on.
        epoch_seconds: of one epoch, validation included; 0 where none was trained or the log is an older one. The
            other seconds do not tell it: time may end a training early, and a resumed one counts from there.
    """

    f1: float
    macs: int
    seconds: float
    error: str = ""
    setup_seconds: float = 0.0
    epoch_seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """A dictionary that `json.dumps` takes."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        return cls(**value)


class Strategy(Protocol):
    """Decides what to train next.

    Proposals are numbered from 0 in the order in which `ask` gave them. A strategy is a function of its settings and
    of the calls it has seen: a fresh one that is given the same calls again goes on in the same way. That is how a
    search is resumed, and how several machines share one.
    """

    def ask(self) -> Proposal | None:
        """The next training; None while a result must come first. After None nothing has changed."""
        ...

    def tell(self, number: int, proposal: Proposal, result: Result) -> None:
        """The result of proposal `number`; each is told once, in any order."""
        ...

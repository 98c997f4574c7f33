"""What every family of networks has in common as data: frozen, strict, JSON-able options that can build themselves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from torch import nn

Channels = Annotated[int, Field(ge=1, le=8192)]
Probability = Annotated[float, Field(ge=0, lt=1)]
# 0.01..10 covers every published width; outside it a typo is likelier than a wish.
Width = Annotated[float, Field(ge=0.01, le=10, allow_inf_nan=False)]


class Record(BaseModel):
    """A frozen, hashable record that refuses unknown fields and does not convert types silently."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class FamilyOptions(Record, ABC):
    """The options of one family; subclasses add a `family: Literal[...]` tag and their own fields.

    A value that makes no sense raises `pydantic.ValidationError` (a `ValueError`) where it is constructed;
    `ArchSpec.from_json` turns that into one line for the user.
    """

    @abstractmethod
    def build(self, num_classes: int) -> nn.Module:
        """A freshly initialised network: float images N x 3 x H x W -> logits N x num_classes."""

    @abstractmethod
    def macs(self, num_classes: int, image_size: int) -> int:
        """MACs of one square image, in closed form: what the competition's counter says of the built network.

        Raises:
            ModelError: the image is too small for the network.
        """

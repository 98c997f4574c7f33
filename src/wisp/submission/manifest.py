"""manifest.json: what a submission says of itself, and the digests that hold it together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from wisp import strict_json
from wisp.errors import SubmissionError

FORMAT_VERSION = 1
_LARGEST_COUNT = 10**15

Count = Annotated[int, Field(ge=0, le=_LARGEST_COUNT)]
Share = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1, max_length=200)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
ClassName = Annotated[str, Field(min_length=1, max_length=200)]


class _Part(BaseModel):
    """Frozen; unknown fields and silent conversions are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Macs(_Part):
    """Multiply-accumulates of one image by each counter.

    `official` is the competition's counter on the network as trained, `deployed` the same on the network as exported
    (BatchNorm folded: what `wisp predict` and `wisp evaluate` report), `exact` every operator of the program, `onnx`
    the graph of model.onnx. A count that is not complete is a lower bound.
    """

    official: Count
    deployed: Count
    exact: Count
    onnx: Count
    exact_complete: bool = True
    onnx_complete: bool = True


class Environment(_Part):
    """Where the network was trained: versions and hardware, nothing that names a person or a path."""

    wisp: Text
    python: Text
    torch: Text
    onnxruntime: Text
    platform: Text
    cpu: Text


class MemberDigest(_Part):
    """Size and SHA-256 (hexadecimal) of one member's content."""

    size_bytes: Count
    sha256: Digest


class Facts(_Part):
    """What a submission says of itself; `Manifest` adds the digests of its members.

    `f1` maps each labelled split that was measured to the macro F1 that model.onnx reaches on it; `unlabelled` is not
    among them.
    """

    classes: Annotated[tuple[ClassName, ...], Field(strict=False, min_length=2, max_length=100_000)]
    image_size: Annotated[int, Field(ge=1, le=1024)]
    params: Count
    macs: Macs
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    f1: Mapping[Annotated[str, Field(pattern=r"^(train|val|test)$")], Share]
    environment: Environment

    @field_validator("classes")
    @classmethod
    def _different(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(classes)) != len(classes):
            raise ValueError("a class appears twice")
        return classes


class Manifest(Facts):
    """manifest.json, whole: the facts, and every other member with its digest."""

    format: Literal[1] = 1
    members: Mapping[Annotated[str, Field(max_length=1000)], MemberDigest]

    @model_validator(mode="after")
    def _names_itself_not(self) -> Self:
        if "manifest.json" in self.members:
            raise ValueError("members: manifest.json cannot hold its own digest")
        return self

    def to_json(self) -> dict[str, Any]:
        """A dictionary that `json.dumps` takes, in a fixed order."""
        value = self.model_dump(mode="json")
        return {"format": value.pop("format"), **value}

    @classmethod
    def from_json(cls, value: Any, *, where: str = "manifest.json") -> Self:
        """The inverse of `to_json`.

        Raises:
            SubmissionError: a field is missing, unknown or out of range; `where` names the file in the message.
        """
        if (
            isinstance(value, dict)
            and isinstance(value.get("format"), int)
            and value["format"] > FORMAT_VERSION
        ):
            raise SubmissionError(
                f"{where}: written by a newer wisp (format {value['format']}); upgrade wisp"
            )
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            raise SubmissionError(f"{where}: {_explain(error)}") from error

    @classmethod
    def parse(cls, text: bytes, *, where: str = "manifest.json") -> Self:
        """Read the bytes of a manifest.json.

        Raises:
            SubmissionError: not JSON, or not a manifest.
        """
        try:
            value = strict_json.loads(text)
        except strict_json.StrictJsonError as error:
            raise SubmissionError(f"{where}: {error}") from error
        return cls.from_json(value, where=where)


def _explain(error: ValidationError) -> str:
    """The first complaint in one line, with the path of its field."""
    first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part)[:80] for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    return f"{field}: {message}" if field else message

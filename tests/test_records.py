from __future__ import annotations

import dataclasses
import json
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wisp.errors import (
    DataError,
    DownloadError,
    ExportError,
    InputError,
    MissingExtraError,
    ModelError,
    RecipeError,
    SandboxError,
    SubmissionError,
    TrainingError,
    WispError,
)
from wisp.records import GEOMETRIES, TEST, TRAIN, VAL, Dataset, Measurement, ResizeRule, Sample

share = st.floats(0, 1)
amount = st.integers(0, 10**12)
measurements = st.builds(
    Measurement,
    f1_macro=share,
    accuracy=share,
    n_images=amount,
    split=st.sampled_from([TRAIN, VAL, TEST]),
    macs=amount,
    params=amount,
    score=st.floats(-1, 100),
    f1_ci95=st.none() | st.tuples(share, share),
    macs_as_trained=st.none() | amount,
    size_bytes=st.none() | amount,
    latency_p50_ms=st.none() | st.floats(0, 1e6),
    latency_p99_ms=st.none() | st.floats(0, 1e6),
    device=st.none() | st.text(),
)


@given(measurements)
def test_measurements_survive_json(measurement: Measurement) -> None:
    again = Measurement.from_json(json.loads(json.dumps(measurement.to_json())))
    assert again == measurement
    assert hash(again) == hash(measurement)


def test_a_measurement_with_an_unknown_field_is_refused() -> None:
    with pytest.raises(TypeError, match="surprise"):
        Measurement.from_json({"surprise": 1})


def test_records_are_frozen() -> None:
    for record in (ResizeRule(32), Sample(Path("a"), "a", 0), Dataset(Path(), (), {})):
        field = dataclasses.fields(record)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(record, field, None)


def test_a_split_that_is_missing_is_empty() -> None:
    sample = Sample(Path("train/a/1.jpg"), "train/a/1.jpg", 0)
    dataset = Dataset(Path(), ("a",), {TRAIN: (sample,)})
    assert dataset.split(TRAIN) == (sample,)
    assert dataset.split(TEST) == ()


def test_stretching_is_the_default_geometry() -> None:
    assert ResizeRule(32).geometry == "stretch"
    assert set(GEOMETRIES) == {"stretch", "pad", "crop"}


# Errors


EVERY = [
    WispError,
    TrainingError,
    DownloadError,
    ExportError,
    InputError,
    DataError,
    RecipeError,
    ModelError,
    SandboxError,
    SubmissionError,
]


@pytest.mark.parametrize("kind", EVERY)
def test_exit_codes_follow_the_hierarchy(kind: type[WispError]) -> None:
    assert issubclass(kind, WispError)
    assert kind.exit_code == (2 if issubclass(kind, InputError) else 1)


def test_the_list_of_errors_is_complete() -> None:
    def below(kind: type[WispError]) -> set[type[WispError]]:
        return {kind}.union(*(below(each) for each in kind.__subclasses__()))

    ours = {kind for kind in below(WispError) if kind.__module__ == "wisp.errors"}
    assert ours == {*EVERY, MissingExtraError}


@pytest.mark.parametrize(
    "error", [*(kind("what to do") for kind in EVERY), MissingExtraError("This", "train")]
)
def test_errors_survive_pickling(error: WispError) -> None:
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  (just written)
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert again.exit_code == error.exit_code


def test_a_missing_extra_says_what_to_install() -> None:
    assert str(MissingExtraError("This", "train")) == (
        "This needs an optional part; install it with: pip install 'wisp[train]'"
    )

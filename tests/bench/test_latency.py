import gc
import io

import numpy as np
import pytest
from PIL import Image
from torch import nn

from wisp.bench import Latency, latency, measure_latency, photo_to_label_latency
from wisp.environment import processor_name
from wisp.errors import DataError, ModelError
from wisp.export import export_onnx
from wisp.records import ResizeRule


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("bench") / "model.onnx"
    export_onnx(
        nn.Sequential(
            nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
        ),
        labels=("a", "b"),
        resize=ResizeRule(16),
        macs_as_trained=1,
        provenance={},
        check_images=np.zeros((1, 16, 16, 3), np.uint8),
        path=path,
    )
    return path


def jpeg(width=128, height=96):
    stream = io.BytesIO()
    Image.new("RGB", (width, height), (10, 200, 30)).save(stream, "JPEG")
    return stream.getvalue()


def test_from_pixels_to_probabilities(model):
    result = measure_latency(model, repeats=50, warmup=5)
    assert isinstance(result, Latency)
    assert 0 < result.p50_ms <= result.p99_ms < 1000
    assert (result.repeats, result.threads, result.device) == (50, 1, processor_name())


def test_from_a_photo_to_its_label_takes_longer_than_the_model_alone(model):
    photo = photo_to_label_latency(str(model), jpeg(1200, 900), repeats=20, warmup=2)
    alone = measure_latency(model, repeats=20, warmup=2)
    assert photo.p50_ms > alone.p50_ms


def test_percentiles_in_milliseconds(monkeypatch):
    ticks = iter(range(0, 10**12, 1_000_000))
    monkeypatch.setattr(latency.time, "perf_counter_ns", lambda: next(ticks))
    calls = []
    result = latency._measure(lambda: calls.append(gc.isenabled()), repeats=3, warmup=2, threads=2)
    assert (result.p50_ms, result.p99_ms, result.repeats, result.threads) == (1.0, 1.0, 3, 2)
    assert calls == [True, True, False, False, False]  # no collection while the clock runs
    assert gc.isenabled()


def test_the_collector_comes_back_after_an_error():
    def fail():
        raise DataError("no")

    with pytest.raises(DataError):
        latency._measure(fail, repeats=1, warmup=0, threads=1)
    assert gc.isenabled()


def test_the_collector_stays_off_where_it_was_off():
    gc.disable()
    try:
        latency._measure(lambda: None, repeats=1, warmup=0, threads=1)
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.parametrize(("repeats", "warmup"), [(0, 1), (1, -1)])
def test_senseless_counts_are_refused(model, repeats, warmup):
    with pytest.raises(ValueError, match="repeats"):
        measure_latency(model, repeats=repeats, warmup=warmup)


def test_bad_inputs(model, tmp_path):
    with pytest.raises(ModelError, match="no such model"):
        measure_latency(tmp_path / "missing.onnx")
    with pytest.raises(DataError):
        photo_to_label_latency(model, b"no photo")

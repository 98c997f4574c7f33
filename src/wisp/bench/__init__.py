"""What a model costs on this machine."""

from wisp.bench.latency import Latency, measure_latency, photo_to_label_latency

__all__ = ["Latency", "measure_latency", "photo_to_label_latency"]

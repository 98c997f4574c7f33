"""What a model costs on this machine."""

from wisp.bench.latency import Latency, device_name, measure_latency, photo_to_label_latency

__all__ = ["Latency", "device_name", "measure_latency", "photo_to_label_latency"]

"""Counting multiply-accumulates (MACs). `count_macs` is the competition's counter."""

from wisp.macs.hooks import count_macs
from wisp.macs.report import LayerMacs, MacsReport

__all__ = ["LayerMacs", "MacsReport", "count_macs"]

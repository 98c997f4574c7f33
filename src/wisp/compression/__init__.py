"""Compressing a model and training it further: where `wisp.compress`, `wisp.train` and `wisp.export` meet."""

from wisp.compression.job import Compressed, Options, compress
from wisp.compression.subject import Subject, read_subject

__all__ = ["Compressed", "Options", "Subject", "compress", "read_subject"]

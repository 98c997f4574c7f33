"""wisp: ultra-light image classifiers for machines that sort waste."""

__version__ = "0.1.0"

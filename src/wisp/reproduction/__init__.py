"""Proof by retraining: a submission is trained again from itself alone, and a stated test decides.

claim        what the submission says, and which of it can be refuted without training
retraining   one training of it, in a process of its own; own source: in the sandbox (confined_training)
interval     the test: does the claimed F1 belong to those that the seeds give?
reproduce    the flow, with everything on disk that an interrupted one needs to go on
"""

from wisp.reproduction.reproduce import Settings, reproduce
from wisp.reproduction.verdict import Reproduction

__all__ = ["Reproduction", "Settings", "reproduce"]

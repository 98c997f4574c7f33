"""What trainings side by side, in processes of their own, must not share: cores, and locks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from tqdm import tqdm


@contextmanager
def one_thread() -> Iterator[None]:
    """At these sizes two processes of one thread do twice the work of one with two."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def own_bar_lock() -> None:
    """Give progress bars a lock of this process alone.

    tqdm's own one is shared between processes, and a killed worker would leave it behind with a warning.
    """
    tqdm.set_lock(threading.RLock())

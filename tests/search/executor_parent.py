"""A program that runs two endless tasks, for the tests that stop it: `python executor_parent.py FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from executor_tasks import wait_until_told

from wisp.search.executors import ProcessExecutor

if __name__ == "__main__":
    try:
        list(ProcessExecutor(2).run(wait_until_told, [Path(sys.argv[1])] * 2))
    except KeyboardInterrupt:
        sys.exit(130)

"""How long the command line and the runtime take to start, in fresh processes.

    python -m benchmarks.startup [--out FILE]

The times hold the interpreter's own start (given beside them). The first start after an installation, which reads
everything from the disk, is not counted.
"""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median

from benchmarks.outcome import Bar, arguments, finish

STARTS = 10
REQUIRED_S = 0.3
COMMANDS = {
    "interpreter_s": ["-c", "pass"],
    "wisp_help_s": ["-m", "wisp", "--help"],
    "import_runtime_s": ["-c", "import wisp.runtime, sys; sys.exit('torch' in sys.modules)"],
}


def main() -> None:
    """Time the starts."""
    options = arguments("How long the command line and the runtime take to start.").parse_args()
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for turn in range(STARTS + 1):
        for name, command in COMMANDS.items():
            begin = time.perf_counter()
            subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
            if turn:
                times[name].append(time.perf_counter() - begin)
    medians = {name: median(values) for name, values in times.items()}
    bars = [
        Bar("wisp --help, seconds", medians["wisp_help_s"], REQUIRED_S, at_most=True),
        Bar("import wisp.runtime, seconds", medians["import_runtime_s"], REQUIRED_S, at_most=True),
    ]
    finish("startup", {"starts": STARTS, **medians}, bars, options.out)


if __name__ == "__main__":
    main()

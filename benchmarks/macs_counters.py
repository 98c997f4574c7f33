"""Counters of MACs against networks with a known number of them: what each one reports, and what it misses.

    python -m benchmarks.macs_counters [--record docs/records/FILE.md] [--out FILE]

Peers that are installed are compared: ptflops 0.6.5 (the competition's), torch's FlopCounterMode, fvcore, torchinfo.
The last two are no dependencies of wisp; to see them, put them on the path, for instance with
`pip install --target PEERS --no-deps fvcore iopath yacs portalocker tabulate termcolor torchinfo` and
`PYTHONPATH=PEERS`. It also times wisp's own counters on a network of two million MACs and, with `--record`, exports
every named network and holds the counters to agree on it (minutes).
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import io
import logging
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.mac_cases import CASES, SIZE, Case
from benchmarks.outcome import Bar, arguments, finish
from wisp.environment import processor_name
from wisp.export import export_onnx, fold_batchnorm
from wisp.files import write_text
from wisp.macs import count_exact, count_macs, count_onnx, differences
from wisp.models import build, named, names
from wisp.records import ResizeRule

TIMED = "wisp-2m"
RUNS = 5
EXACT_S, OFFICIAL_S = 2.0, 0.3
IMAGE = (1, 3, SIZE, SIZE)


def _ptflops(model: nn.Module) -> int:
    from ptflops import get_model_complexity_info  # noqa: PLC0415

    ignored = [nn.ReLU, nn.PReLU, nn.ELU, nn.LeakyReLU, nn.ReLU6]
    macs, _ = get_model_complexity_info(
        model,
        IMAGE[1:],
        print_per_layer_stat=False,
        as_strings=False,
        ignore_modules=ignored,
        ost=io.StringIO(),
    )
    return int(macs)


def _flop_counter_mode(model: nn.Module) -> int:
    from torch.utils.flop_counter import FlopCounterMode  # noqa: PLC0415

    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model.eval()(torch.randn(IMAGE))
    return int(counter.get_total_flops()) // 2


def _fvcore(model: nn.Module) -> int:
    nn_module: Any = importlib.import_module("fvcore.nn")
    analysis = nn_module.FlopCountAnalysis(model.eval(), torch.randn(IMAGE))
    analysis.unsupported_ops_warnings(False)
    analysis.uncalled_modules_warnings(False)
    return int(analysis.total())


def _torchinfo(model: nn.Module) -> int:
    torchinfo: Any = importlib.import_module("torchinfo")
    return int(torchinfo.summary(model, input_size=IMAGE, verbose=0).total_mult_adds)


PEERS: Mapping[str, tuple[str, Callable[[nn.Module], int]]] = {
    "ptflops": ("ptflops", _ptflops),
    "FlopCounterMode": ("torch", _flop_counter_mode),
    "fvcore": ("fvcore", _fvcore),
    "torchinfo": ("torchinfo", _torchinfo),
}


def _said(count: Callable[[nn.Module], int], case: Case) -> str:
    """What a peer reports for a case; an error is an answer too."""
    torch.manual_seed(0)
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                return f"{count(case.build()):,}"
    except Exception:  # peers fail in many ways
        return "error"
    finally:
        logging.disable(logging.NOTSET)


def compare(peers: Mapping[str, Callable[[nn.Module], int]]) -> tuple[list[tuple[str, ...]], int]:
    """One row a case, and the number of cases in which the exact counter is wrong without saying so."""
    rows, misses = [], 0
    for case in CASES:
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            report = count_exact(case.build(), SIZE)
        misses += report.complete and not (case.decidable and report.total == case.macs)
        exact = f"{report.total:,}" if report.complete else f"incomplete (at least {report.total:,})"
        truth = f"{case.macs:,}" if case.decidable or case.macs else "-"
        rows.append((case.name, truth, exact, *(_said(count, case) for count in peers.values())))
    return rows, misses


def _agreement(image_size: int) -> dict[str, dict[str, Any]]:
    """Official, exact and exported counts of every named network, with what lies between the first two."""
    found = {}
    for name in names():
        network = build(named(name, 9))
        official, exact = count_macs(network, image_size), count_exact(network, image_size)
        folded = count_exact(fold_batchnorm(network, image_size), image_size)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            export_onnx(
                network,
                labels=[str(label) for label in range(9)],
                resize=ResizeRule(image_size),
                macs_as_trained=official.total,
                provenance={},
                check_images=np.zeros((1, image_size, image_size, 3), np.uint8),
                path=path,
            )
            graph = count_onnx(path)
        found[name] = {
            "official": official.total,
            "exact": exact.total,
            "onnx": graph.total,
            "agree": exact.complete and graph.complete and exact.total == folded.total == graph.total,
            "difference": {item.cause: item.macs for item in differences(official, exact)},
        }
    return found


def _seconds(work: Callable[[], object]) -> float:
    times = []
    for _ in range(RUNS):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return median(times)


def _first_exact_s() -> float:
    """The exact count of a fresh process, after its imports: the first one loads torch.export."""
    script = (
        "import time; from wisp.macs import count_exact; from wisp.models import build, named;"
        f"network = build(named({TIMED!r}, 9)); begin = time.perf_counter(); count_exact(network, 64);"
        "print(time.perf_counter() - begin)"
    )
    commands = [[sys.executable, "-c", script]] * 3
    return median(
        float(subprocess.run(c, check=True, capture_output=True, text=True).stdout) for c in commands
    )


def _markdown(
    rows: list[tuple[str, ...]],
    versions: Mapping[str, str],
    missing: list[str],
    agreement: Mapping[str, Any],
    seconds: Mapping[str, float],
) -> str:
    head = ("network", "true MACs", "wisp exact", *versions)
    lines = [
        "# Counters of MACs: what each one sees",
        "",
        "Written by `python -m benchmarks.macs_counters --record FILE`. Networks of `benchmarks/mac_cases.py` on one",
        f"3 x {SIZE} x {SIZE} image; true: the closed form of the products that are added up (no biases, norms or",
        f"single multiplications, which some counters add). torch {torch.__version__.partition('+')[0]}.",
        "`-`: there is no such number, it depends on the image or on how torch does it. `error`: the counter raised.",
        "",
        *([f"Not installed, so not compared: {', '.join(missing)}.", ""] if missing else []),
        "| " + " | ".join(head) + " |",
        "|---|" + "---:|" * (len(head) - 1),
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
        ", ".join(f"{name} {version}" for name, version in versions.items()) + ".",
        "",
        f"One count of {TIMED} at 64 pixels (median of {RUNS}; {processor_name()}, one thread): official "
        f"{seconds['official_s']:.3f} s, exact {seconds['exact_s']:.2f} s; the first exact one of a process, which "
        f"loads torch.export, {seconds['first_exact_s']:.2f} s.",
    ]
    if agreement:
        causes = sorted({cause for row in agreement.values() for cause in row["difference"]})
        lines += [
            "",
            "## Every named network, at 32 pixels",
            "",
            "`onnx` is the exported graph with batch norms folded. official = exact + the columns behind it.",
            "",
            "| network | official | exact | onnx | " + " | ".join(causes) + " |",
            "|---|" + "---:|" * (3 + len(causes)),
        ]
        lines += [
            f"| {name} | {row['official']:,} | {row['exact']:,} | {row['onnx']:,} | "
            + " | ".join(f"{row['difference'].get(cause, 0):,}" for cause in causes)
            + " |"
            for name, row in agreement.items()
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Compare, time, and write the table."""
    parser = arguments("Counters of MACs against networks with a known number of them.")
    parser.add_argument("--record", type=Path, help="write the table as Markdown to this file")
    options = parser.parse_args()
    installed = {name: peer for name, peer in PEERS.items() if importlib.util.find_spec(peer[0])}
    versions = {
        name: importlib.metadata.version(package).partition("+")[0]
        for name, (package, _) in installed.items()
    }
    missing = [name for name in PEERS if name not in installed]
    rows, misses = compare({name: count for name, (_, count) in installed.items()})
    agreement = {} if options.record is None else _agreement(32)
    network = build(named(TIMED, 9))
    seconds = {
        "first_exact_s": _first_exact_s(),
        "exact_s": _seconds(lambda: count_exact(network, 64)),
        "official_s": _seconds(lambda: count_macs(network, 64)),
    }
    if options.record is not None:
        write_text(options.record, _markdown(rows, versions, missing, agreement, seconds))
    bars = [
        Bar("silent misses of the exact counter", misses, 0, at_most=True),
        Bar(f"exact count of {TIMED}, seconds", seconds["exact_s"], EXACT_S, at_most=True),
        Bar("the first one of a process, seconds", seconds["first_exact_s"], EXACT_S, at_most=True),
        Bar(f"official count of {TIMED}, seconds", seconds["official_s"], OFFICIAL_S, at_most=True),
    ]
    if agreement:
        differ = sum(not row["agree"] for row in agreement.values())
        bars.append(Bar("named networks whose exact and onnx counts differ", differ, 0, at_most=True))
    numbers = {"cases": len(CASES), "peers": versions, "missing": missing, **seconds, "networks": agreement}
    finish("macs_counters", numbers, bars, options.out)


if __name__ == "__main__":
    main()

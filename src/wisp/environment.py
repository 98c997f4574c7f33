"""Where a training runs: versions and hardware, nothing that names a person, a machine or a path."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("torch", "onnxruntime")


def describe_environment() -> dict[str, str]:
    """Versions of wisp, Python and what computes, the operating system's kind, and the processor's name.

    Equal descriptions mean that a training with the same seed gives the same weights, bit for bit.
    """
    return {
        "wisp": _version("wisp"),
        "python": platform.python_version(),
        **{name: _version(name) for name in _PACKAGES},
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": processor_name(),
    }


def processor_name() -> str:
    """The processor's name as its maker writes it, or the nearest that the system tells."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model") and value.strip():
                return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine() or "unknown processor"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"

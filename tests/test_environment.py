from __future__ import annotations

from importlib.metadata import version

import pytest

from wisp import environment
from wisp.environment import describe_environment, processor_name


def test_it_says_what_decides_the_weights_and_nothing_else() -> None:
    described = describe_environment()
    assert list(described) == ["wisp", "python", "torch", "onnxruntime", "platform", "cpu"]
    assert all(described.values())
    assert described["torch"] == version("torch")
    assert described == describe_environment()
    assert not any("/" in value for name, value in described.items() if name != "cpu")


def test_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_PACKAGES", ("no-such-package",))
    assert describe_environment()["no-such-package"] == "not installed"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("processor\t: 0\nmodel name\t: Fast CPU 3000\n", "Fast CPU 3000"),
        ("processor\t: 0\nModel\t\t: Raspberry Pi 5\n", "Raspberry Pi 5"),
        ("nothing known\n", "from the system"),
        (None, "from the system"),
    ],
)
def test_the_name_of_the_processor(monkeypatch, text, expected):
    def read_text(self, encoding):
        if text is None:
            raise FileNotFoundError
        return text

    monkeypatch.setattr(environment.Path, "read_text", read_text)
    monkeypatch.setattr(environment.platform, "processor", lambda: "from the system")
    assert processor_name() == expected


def test_a_system_that_tells_nothing(monkeypatch):
    monkeypatch.setattr(environment.Path, "read_text", lambda self, encoding: "")
    monkeypatch.setattr(environment.platform, "processor", lambda: "")
    monkeypatch.setattr(environment.platform, "machine", lambda: "")
    assert processor_name() == "unknown processor"

"""Networks that searches found and records name: what is kept of each is the network of that name."""

from __future__ import annotations

from pathlib import Path

import pytest

from wisp.models import ArchSpec, resolve
from wisp.search.candidate import Candidate
from wisp.search.space import Space

FILES = sorted((Path(__file__).parents[1] / "docs" / "records" / "networks").glob("*.json"))


def test_there_are_some() -> None:
    assert len(FILES) >= 6


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_file_is_the_network_of_its_name(path: Path) -> None:
    """The name holds MACs, pixels and a digest of the architecture."""
    arch = resolve(str(path), num_classes=None)
    assert isinstance(arch, ArchSpec)
    pixels = int(path.stem.split("-")[2].removesuffix("px"))
    space = Space(num_classes=arch.num_classes, image_size=(pixels,))
    genes = space.encode(Candidate(path.stem, arch, pixels))
    assert space.decode(genes).name == path.stem

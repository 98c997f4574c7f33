"""The families of networks that wisp can build, found by discovery."""

from __future__ import annotations

from wisp.models import named, names


def cheapest_of_each_family(image_size: int) -> list[str]:
    """One name a family, that with the fewest MACs: all names would take too long."""
    cheapest: dict[str, str] = {}
    for name in sorted(names(), key=lambda name: named(name, 5).macs(image_size)):
        cheapest.setdefault(named(name, 5).family, name)
    return sorted(cheapest.values())

"""The type of an option that takes a time span, such as 90s, 10m or 1.5h."""

from __future__ import annotations

import re

import click

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Duration(click.ParamType[float]):
    """Seconds from `90`, `90s`, `10m`, `1.5h`, `1h30m` or `2d`."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds, more than zero."""
        text = f"{value:f}" if isinstance(value, float) else str(value).strip().lower()
        parts = re.findall(r"(\d+(?:\.\d+)?)([smhd]?)", text)
        seconds = sum(float(number) * _UNITS[unit or "s"] for number, unit in parts)
        if "".join(number + unit for number, unit in parts) != text or seconds <= 0:
            self.fail(f"{value!r} is no time span; write it like 90s, 10m or 1.5h", param, ctx)
        return seconds

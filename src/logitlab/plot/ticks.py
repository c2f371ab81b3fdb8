"""Numbers as people read them: decimals, thousands apart, few powers of ten."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axis import Axis
from matplotlib.ticker import Formatter, LogLocator, MaxNLocator, NullFormatter

__all__ = ["count", "decimal", "decimals", "is_number", "share", "values"]

_SMALLEST, _LARGEST = 1e-6, 1e15  # beyond them a number is written as a power of ten
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def count(number: Any) -> str:
    """Return a number of tokens or rows: thousands apart.

    Examples
    --------
    >>> count(49152)
    '49,152'
    """
    return f"{int(number):,}"


def share(probability: float, decimals: int = 3) -> str:
    """Return a probability with three decimals, or with two where there is little room.

    Examples
    --------
    >>> share(0.125), share(0.0001), share(0.0)
    ('0.125', '<0.001', '0')
    >>> share(0.125, 2), share(0.001, 2)
    ('0.12', '<0.01')
    """
    if probability == 0:
        return "0"
    least = 10**-decimals
    return f"<{least:g}" if probability < least / 2 else f"{probability:.{decimals}f}"


def decimal(number: float, digits: int = 4) -> str:
    """Return a number in decimals, with so many significant digits.

    Examples
    --------
    >>> decimal(0.95789), decimal(12345.678), decimal(1e-6), decimal(2.5e-7), decimal(-1.0)
    ('0.9579', '12,346', '0.000001', '2.5×10⁻⁷', '−1')
    """
    if not math.isfinite(number) or not number:
        return {math.inf: "∞", -math.inf: "−∞"}.get(number, "0" if number == 0 else "?")
    size, sign = abs(number), "−" if number < 0 else ""
    mantissa, _, exponent = f"{size:.{digits - 1}e}".partition("e")
    power = int(exponent)
    if not _SMALLEST <= size < _LARGEST:
        head = f"{float(mantissa):g}"
        exponent = str(power).translate(_SUPERSCRIPTS)
        return f"{sign}10{exponent}" if head == "1" else f"{sign}{head}×10{exponent}"
    text = f"{size:,.{max(digits - 1 - power, 0)}f}"
    return sign + (text.rstrip("0").rstrip(".") if "." in text else text)


def values(numbers: Iterable[Any]) -> list[str]:
    """Return the values of an axis with the fewest digits, three at least, that tell them apart.

    What is no number stands as it prints.

    Examples
    --------
    >>> values([0.2, 0.29473684, 0.38947368]), values([0.99951, 0.99952]), values([None, "vllm"])
    (['0.2', '0.295', '0.389'], ['0.99951', '0.99952'], ['None', 'vllm'])
    """
    entries = list(numbers)

    def written(digits: int) -> list[str]:
        return [decimal(float(e), digits) if is_number(e) else str(e) for e in entries]

    return next((t for t in map(written, range(3, 17)) if len(set(t)) == len(t)), written(17))


def is_number(value: Any) -> bool:
    """Whether a value of an axis is a number, which a boolean is not."""
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


class _Decimals(Formatter):
    """Ticks of one axis in decimals, all with as many places where the axis is no logarithm."""

    def __init__(self, is_log: bool) -> None:
        self.is_log = is_log

    def __call__(self, x: float, pos: Any = None) -> str:
        return decimal(x)

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        numbers = np.asarray(values, np.float64)
        step = float(np.diff(numbers).min(initial=1)) if len(numbers) > 1 else 1.0
        for places in range(7 if not self.is_log and step > 0 else 0):
            # A hundredth of a step cannot be seen.
            if np.abs(numbers.round(places) - numbers).max(initial=0) < step / 100:
                return [f"{x:,.{places}f}".replace("-", "−") for x in numbers + 0.0]
        return [decimal(x) for x in numbers]


def decimals(axis: Axis, *, is_count: bool = False) -> None:
    """Write the ticks of an axis in decimals; those of counts are whole numbers.

    On a logarithmic axis of less than two decades there are ticks at 2 and 5, too.
    """
    is_log = axis.get_scale() == "log"
    if is_log:
        low, high = sorted(axis.get_view_interval())
        subs = (1.0,) if high > 99 * low else (1.0, 2.0, 5.0)
        axis.set_major_locator(LogLocator(subs=subs))
        axis.set_minor_formatter(NullFormatter())
    elif is_count:
        axis.set_major_locator(MaxNLocator("auto", integer=True))
    axis.set_major_formatter(_Decimals(is_log))

"""How numbers are written: one function a quantity, the same in the terminal, in Markdown and on the page."""

from __future__ import annotations

import math

MISSING = "–"
WORDS = "no one two three four five six seven eight nine ten eleven twelve".split()  # noqa: SIM905


def bits(value: float) -> str:
    """Three decimals: 1.923. The smallest difference worth reading is about 0.001 bit."""
    return f"{value:.3f}"


def gap(value: float) -> str:
    """A difference or a spread in bits: three decimals, or two figures if those would be zeros."""
    if value == 0 or abs(value) >= 0.0095:
        return f"{value:.3f}"
    return f"{value:.2g}" if abs(value) >= 0.0001 else f"{value:.0e}"


def spread(value: float) -> str:
    """A spread beside a mean of three decimals."""
    return "<0.001" if 0 < value < 0.0005 else f"{value:.3f}"


def figures(value: float) -> str:
    """Three significant figures without an exponent where that is readable: 5.68, 143, 12,400, 3.1e-05."""
    if value == 0:
        return "0"
    digits = math.floor(math.log10(abs(value)))
    if digits >= 15 or digits < -4:
        return f"{value:.3g}"
    rounded = round(value, 2 - digits)
    return f"{rounded:,.{max(0, 2 - digits)}f}"


def whole(value: float) -> str:
    """Thousands apart: 402,113."""
    return f"{value:,.0f}"


def short(value: float) -> str:
    """A count in three figures: 402 k, 1.05 M."""
    for size, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= size * 0.9995:
            return _three(value / size) + letter
    return whole(value)


def size(value: float) -> str:
    """Bytes: 48 B, 2.00 KiB, 1.13 MiB."""
    for limit, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if value >= limit * 0.9995:
            return f"{_three(value / limit)} {unit}"
    return f"{value:.0f} B"


def seconds(value: float) -> str:
    """Seconds for a table: 8.3, 342."""
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def duration(value: float) -> str:
    """Seconds in a sentence: 8.3 s, 5 min 42 s, 2 h 3 min."""
    if value < 99.5:
        return f"{value:.3g} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def percent(share: float) -> str:
    """A share in [0, 1]: 62.1 %."""
    return f"{100 * share:.1f} %"


def signed(text: str, value: float) -> str:
    """Put a sign (a real minus) before a number already written; none before a zero."""
    text = text.removeprefix("-")
    if not any(digit in text for digit in "123456789"):
        return text
    return ("+" if value >= 0 else "−") + text


def word(count: int) -> str:
    """Small counts as words, for sentences."""
    return WORDS[count] if 0 <= count < len(WORDS) else str(count)


def plural(count: int, noun: str) -> str:
    """`3 seeds`, `1 seed`."""
    return f"{whole(count)} {noun}" + ("" if count == 1 else "s")


def listed(items: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


def _three(value: float) -> str:
    """Three figures of a number below about 1,000."""
    return (
        f"{value:.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"
    )

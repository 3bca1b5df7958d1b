"""Numbers and names as people read them."""

from __future__ import annotations

import math
import unicodedata

from concertina.types import Record

MISSING = "–"
"""Stands for what was not measured."""
MANY = 10**15
"""No count of a network is so large; a file that says so is not taken at its word."""

LESS_IS_BETTER = ("perplexity",)
"""Headline metrics that are better the lower they are; of all others more is better."""
MARKS = {
    "unresolved": "unresolved: the machine was too busy to tell; do not build on these figures.",
    "ungated": "ungated: the system does not say whether other work disturbed the measurement.",
}
"""Mark on the scope of a latency -> what it means."""
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
_NO_CHARACTERS = "\ufffe\uffff"
"""What XML does not allow."""
_JOINERS = "\u200c\u200d"
"""Needed to write several languages and emoji; harmless."""


def shown(text: object, limit: int = 120) -> str:
    r"""Return a name that came with a file, safe to show: no control or direction characters, not endless.

    Example:
        >>> shown("a\u202eb\n") == "a\ufffdb\ufffd", shown("x" * 9, limit=5)
        (True, 'xxxx…')
    """
    clean = "".join("\ufffd" if _is_unseen(char) else char for char in str(text))
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def _is_unseen(char: str) -> bool:
    return char in _NO_CHARACTERS or (unicodedata.category(char) in _UNSEEN and char not in _JOINERS)


def number(value: float) -> str:
    """Return a number with three significant digits.

    Example:
        >>> number(0.012345), number(12.3456), number(1234.5)
        ('0.0123', '12.3', '1,234')
    """
    if not math.isfinite(value) or abs(value) >= 1e9:
        return f"{value:.3g}"
    rounded = float(f"{value:.3g}")
    if rounded == 0 or abs(rounded) >= 100:
        return f"{value:,.0f}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(rounded))))}f}"


def count(value: int | None, unit: str = "") -> str:
    """Return a large whole number with a decimal prefix.

    Example:
        >>> count(41_200_000), count(950, "B"), count(81_500, "B"), count(None)
        ('41.2 M', '950 B', '81.5 kB', '–')
    """
    if value is None:
        return MISSING
    if value >= MANY:
        return f"over 999 T{unit}"
    for factor, prefix in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= 0.9995 * factor:
            return f"{number(value / factor)} {prefix}{unit}"
    return f"{value} {unit}".strip()


def whole(value: int | None) -> str:
    """Return a whole number, all of its digits in groups of three.

    Example:
        >>> whole(52463), whole(None)
        ('52,463', '–')
    """
    return f"{value:,}" if value is not None and value < MANY else count(value)


def percent(share: float | None) -> str:
    """Return a share in percent: one decimal, three significant digits below 1%.

    Example:
        >>> percent(0.9173), percent(0.0213), percent(0.00213), percent(1.0)
        ('91.7%', '2.1%', '0.213%', '100%')
    """
    if share is None:
        return MISSING
    if share in (0.0, 1.0):
        return f"{share:.0%}"
    return f"{100 * share:.1f}%" if abs(share) >= 0.01 else f"{number(100 * share)}%"


def value(record: Record | None) -> str:
    """Return a record's value in its unit's way of writing."""
    if record is None:
        return MISSING
    return percent(record.value) if record.unit == "share" else number(record.value)


def interval(record: Record | None) -> str:
    """Return a record's 95% interval as "91.1 to 92.3", empty where it has none."""
    if record is None or record.low is None or record.high is None:
        return ""
    if record.unit == "share":
        return f"{100 * record.low:.1f} to {100 * record.high:.1f}"
    return f"{number(record.low)} to {number(record.high)}"


def title(metric: str) -> str:
    """Return a metric's name as a heading.

    Example:
        >>> title("worst_class_recall")
        'Worst class recall'
    """
    return shown(metric).replace("_", " ").capitalize()


def markdown(text: object) -> str:
    r"""Return a name that came with a file so that Markdown shows it as it is.

    Example:
        >>> print(markdown("a|b*c <i>"))
        a\|b\*c &lt;i&gt;
    """
    clean = shown(text, 400).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"\\{char}" if char in "\\`*_{}[]#|~" else char for char in clean)

"""A plot of latency by percentile, as SVG: the tails of decisions beside the noise of the machine.

The horizontal axis is logarithmic in the share above a percentile, so the steps between 99 %, 99.9 % and 99.99 % have
equal widths. The vertical axis is logarithmic in nanoseconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from xml.sax.saxutils import escape

from ztfast.bench.report import Report

__all__ = ["plot"]

WIDTH, HEIGHT = 1000, 620
LEFT, RIGHT, TOP, BOTTOM = 76, 268, 84, 62
# A palette for all kinds of colour vision (Okabe and Ito). The curves also differ by their dashes.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5195")
NOISE = "#777777"
LEAST_NS, LEAST_DECADES = 10.0, 3
NAME_WIDTH = 30

Points = list[tuple[float, float]]


def plot(report: Report) -> str:
    """Draw the curves of all calls timed one by one, and of the spinning thread, as the text of an SVG file."""
    curves = [(of.name, of.curve) for of in report.tails]
    curves.append(("spinning thread: its gaps", report.noise.curve))
    nines = max(math.ceil(_nines(points)) for _, points in curves)
    longest = max(ns for _, points in curves for _, ns in points)
    decades = max(math.ceil(math.log10(max(longest, LEAST_NS) / LEAST_NS)), LEAST_DECADES)

    def x(above: float) -> float:
        """Return the horizontal position of a percentile, given the share above it."""
        return LEFT + -math.log10(above) / nines * (WIDTH - LEFT - RIGHT)

    def y(ns: float) -> float:
        return HEIGHT - BOTTOM - math.log10(max(ns, LEAST_NS) / LEAST_NS) / decades * (HEIGHT - TOP - BOTTOM)

    about = report.machine
    cpu = "not pinned" if about["pinned"] is None else f"pinned to CPU {about['pinned']}"
    under = f"ztfast {about['ztfast']}, {about['python']}, {about['cpu']}, {cpu}, {about['when']}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'font-family="Helvetica, Arial, sans-serif" font-size="13" fill="#222">',
        f"<title>{escape('Decision latency by percentile')}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        _text(LEFT, 32, "Decision latency by percentile", size=20, bold=True),
        _text(LEFT, 54, under, size=12, colour="#555"),
        *_grid(x, y, nines, decades),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 16, "percentile of decisions", anchor="middle"),
        f'<text transform="translate(20 {(TOP + HEIGHT - BOTTOM) / 2:.0f}) rotate(-90)" text-anchor="middle">'
        "nanoseconds, including the clock</text>",
    ]
    for at, (name, points) in enumerate(curves):
        last = at == len(curves) - 1
        colour, dash = (NOISE, "2 3") if last else (COLOURS[at % len(COLOURS)], ("", "7 3")[at % 2])
        line = " ".join(f"{px:.1f},{y(ns):.1f}" for px, ns in _shown(points, x))
        style = f'fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}" stroke-linejoin="round"'
        parts.append(f'<polyline points="{line}" {style}><title>{escape(name)}</title></polyline>')
        row = TOP + 10 + at * 26
        start = WIDTH - RIGHT + 16
        parts.append(f'<line x1="{start}" x2="{start + 28}" y1="{row}" y2="{row}" {style}/>')
        parts.append(_text(start + 36, row + 4, name, size=12))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _nines(points: Points) -> float:
    """Return the number of nines in the last percentile before the longest time."""
    shares = [1 - percentile / 100 for percentile, _ in points if percentile < 100]
    return -math.log10(min(shares)) if shares else 1.0


def _shown(points: Points, x: Callable[[float], float]) -> Iterator[tuple[float, float]]:
    """Return the points of a curve; the longest time is at the right end."""
    end = x(1.0)
    for percentile, ns in points:
        # Rounding must not put a percentile beyond the end of the axis.
        end = x(1 - percentile / 100) if percentile < 100 else end
        yield end, ns


def _grid(x: Callable[[float], float], y: Callable[[float], float], nines: int, decades: int) -> Iterator[str]:
    """Draw the lines of the grid and their labels."""
    for nine in range(nines + 1):
        for part in (1.0, 0.5) if nine < nines else (1.0,):
            at = x(part / 10**nine)
            main = part == 1.0
            yield _line(at, TOP, at, HEIGHT - BOTTOM, "#ddd" if main else "#f0f0f0")
            # The median gets a label if there is room beside 0 %.
            if main or (nine == 0 and at - LEFT > NAME_WIDTH):
                percentile = (1 - part / 10**nine) * 100
                yield _text(at, HEIGHT - BOTTOM + 20, f"{percentile:.{max(nine - 2, 0)}f} %", size=12, anchor="middle")
    for decade in range(decades + 1):
        value = LEAST_NS * 10**decade
        for part in (1, 2, 5) if decade < decades else (1,):
            yield _line(LEFT, y(value * part), WIDTH - RIGHT, y(value * part), "#ddd" if part == 1 else "#f0f0f0")
        yield _text(LEFT - 8, y(value) + 4, _time(value), size=12, anchor="end")
    yield _line(LEFT, TOP, LEFT, HEIGHT - BOTTOM, "#222")
    yield _line(LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM, "#222")


def _time(ns: float) -> str:
    """Format a time."""
    for unit, scale in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if ns >= scale:
            return f"{ns / scale:,.0f} {unit}"
    return f"{ns:,.0f} ns"


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def _text(
    x: float,
    y: float,
    text: str,
    *,
    size: int = 13,
    anchor: str = "start",
    bold: bool = False,
    colour: str = "#222",
) -> str:
    weight = "bold" if bold else "normal"
    style = f'font-size="{size}" text-anchor="{anchor}" font-weight="{weight}" fill="{colour}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(text)}</text>'

"""The page of a simulated run: when which process was hit by what, and how much work was done.

One file of HTML with its drawings inside: it loads nothing, runs nothing, and whatever comes from a
plan or a story is escaped. It is written beside its place and moved there whole.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from html import escape
from itertools import pairwise
from pathlib import Path

from dolmen.simulation.faults import AnyFault
from dolmen.simulation.plan import NAMENODE, Plan, client_name, datanode_name
from dolmen.simulation.run import Moment

LEFT, WIDTH, ROW = 110, 980, 22
CHART = 120

#: A dot is this wide, so that a fault of a moment in a run of hours can be seen.
LEAST_WIDTH = 2.0

#: A line of more points than pixels shows nothing more.
POINTS_MAX = 480

EVERYWHERE = "everywhere"

COLOURS = {
    "kill": "#c0392b",
    "power loss": "#8e2b1f",
    "blackout": "#4a0f08",
    "rolling restart": "#d98880",
    "pause": "#e39b2e",
    "clock jump": "#7d5ba6",
    "clock drift": "#a98fc7",
    "cut": "#2471a3",
    "isolation": "#154360",
    "slow link": "#7fb3d5",
    "packet loss": "#5499c7",
    "resets": "#1f8a9c",
    "half open": "#48a9a6",
    "read errors": "#6e8b3d",
    "full disk": "#a3b86c",
    "slow disk": "#b7c99a",
    "hung disk": "#4f6b1f",
    "failed sync": "#2e5d32",
    "rot": "#8a6d3b",
    "lost volume": "#5c4326",
}
OTHER_COLOUR = "#777777"

STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;max-width:1120px;margin:2em auto;padding:0 1em;"
    "color:#222;background:#fff}pre{background:#f4f4f2;padding:1em;overflow-x:auto;"
    "white-space:pre-wrap}svg{width:100%;height:auto}text{font:12px system-ui,sans-serif;fill:#333}"
    "li{display:inline-block;margin-right:1.2em}ul{padding:0}.swatch{display:inline-block;"
    "width:.9em;height:.9em;margin-right:.3em;vertical-align:-.1em}h1{font-size:1.4em}"
)


def write_report(file: Path, plan: Plan, moments: Sequence[Moment], lines: Sequence[str]) -> None:
    """Write the page of a run; it is there whole or not at all."""
    new = file.with_name(f".{file.name}.{os.getpid()}.new")
    try:
        with new.open("w", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(page(plan, moments, lines))
            stream.flush()
            os.fsync(stream.fileno())
        new.replace(file)
    finally:
        new.unlink(missing_ok=True)


def page(plan: Plan, moments: Sequence[Moment], lines: Sequence[str]) -> str:
    """Return the page; equal runs have equal pages but for the time that they took."""
    title = escape(f"Dolmen: the run of seed {plan.seed}")
    summary = (
        f"{plan.datanodes} datanodes, {plan.clients} clients, {plan.seconds / 3600:.2f} virtual"
        f" hours, {len(plan.faults)} faults planned; work: {', '.join(plan.work.kinds)}"
    )
    return "\n".join(
        [
            "<!DOCTYPE html>",
            f'<html lang="en"><head><meta charset="utf-8"><title>{title}</title>',
            f"<style>{STYLE}</style></head><body>",
            f"<h1>{title}</h1><p>{escape(summary)}</p>",
            "<h2>What came of it</h2>",
            f"<pre>{escape(chr(10).join(lines))}</pre>",
            "<h2>Faults</h2>",
            *_timeline(plan),
            *_legend(plan),
            "<h2>Operations acknowledged in a minute</h2>",
            *_chart(plan, _per_minute(moments, lambda moment: moment.operations)),
            "<h2>Faults that hit work in flight, in a minute</h2>",
            *_chart(plan, _per_minute(moments, lambda moment: moment.faults_in_flight)),
            "<h2>Plan</h2>",
            f"<details><summary>as <code>dolmen simulate --plan</code> reads it</summary>"
            f"<pre>{escape(plan.encode())}</pre></details>",
            "</body></html>\n",
        ]
    )


# ---------------------------------------------------------------- faults


def kind_of(fault: AnyFault) -> str:
    """Return the name of a fault's kind, as plans have it."""
    return str(fault.__struct_config__.tag)


def places_of(fault: AnyFault) -> tuple[str, ...]:
    """Return the processes that a fault hits; EVERYWHERE if it names none."""
    named = [getattr(fault, name, None) for name in ("process", "source", "target")]
    found = tuple(name for name in named if isinstance(name, str))
    hosts = getattr(fault, "hosts", ())
    return (*found, *hosts) or (EVERYWHERE,)


def _timeline(plan: Plan) -> Iterator[str]:
    rows = [NAMENODE]
    rows += [datanode_name(index) for index in range(plan.datanodes)]
    rows += [client_name(index) for index in range(plan.clients)]
    rows.append(EVERYWHERE)
    height = ROW * len(rows) + ROW
    yield _svg(height, "Which process was hit by which fault, and when")
    for index, row in enumerate(rows):
        y = index * ROW
        shade = "#f7f7f5" if index % 2 else "#ffffff"
        yield f'<rect x="{LEFT}" y="{y}" width="{WIDTH}" height="{ROW}" fill="{shade}"/>'
        yield f'<text x="0" y="{y + 15}">{escape(row)}</text>'
    number = {row: index for index, row in enumerate(rows)}
    for fault in plan.faults:
        for place in places_of(fault):
            yield _mark(plan, fault, number.get(place, number[EVERYWHERE]))
    yield from _axis(plan, height - ROW)
    yield "</svg>"


def _mark(plan: Plan, fault: AnyFault, row: int) -> str:
    x, end = _x(plan, fault.at_ms / 1000), _x(plan, fault.until_ms / 1000)
    width = max(LEAST_WIDTH, end - x)
    colour = COLOURS.get(kind_of(fault), OTHER_COLOUR)
    lasts_s = (fault.until_ms - fault.at_ms) / 1000
    told = f"{kind_of(fault)} at {fault.at_ms / 1000:g} s, for {lasts_s:g} s"
    return (
        f'<rect x="{x:.1f}" y="{row * ROW + 3}" width="{width:.1f}" height="{ROW - 6}"'
        f' fill="{colour}" fill-opacity="0.8"><title>{escape(told)}</title></rect>'
    )


def _legend(plan: Plan) -> Iterator[str]:
    yield "<ul>"
    for kind in sorted({kind_of(fault) for fault in plan.faults}):
        count = sum(kind_of(fault) == kind for fault in plan.faults)
        colour = COLOURS.get(kind, OTHER_COLOUR)
        swatch = f'<span class="swatch" style="background:{colour}"></span>'
        yield f"<li>{swatch}{escape(kind)} ({count})</li>"
    yield "</ul>"


# ---------------------------------------------------------------- lines


def _per_minute(
    moments: Sequence[Moment], figure: Callable[[Moment], int]
) -> list[tuple[float, float]]:
    """Return (virtual time, how much a figure grew in a minute), at most POINTS_MAX of them."""
    step = max(1, len(moments) // POINTS_MAX)
    chosen = [Moment(0.0, 0, 0, 0), *moments[step - 1 :: step]]
    return [
        (after.virtual_s, 60 * (figure(after) - figure(before)) / span_s)
        for before, after in pairwise(chosen)
        if (span_s := after.virtual_s - before.virtual_s) > 0
    ]


def _chart(plan: Plan, points: Sequence[tuple[float, float]]) -> Iterator[str]:
    most = max((value for _, value in points), default=0.0) or 1.0
    height = CHART + ROW
    yield _svg(height, "A line over virtual time")
    drawn = " ".join(
        f"{_x(plan, at_s):.1f},{CHART - (CHART - 10) * value / most:.1f}" for at_s, value in points
    )
    yield f'<line x1="{LEFT}" y1="{CHART}" x2="{LEFT + WIDTH}" y2="{CHART}" stroke="#999"/>'
    yield f'<polyline points="{drawn}" fill="none" stroke="#2471a3" stroke-width="1.5"/>'
    yield f'<text x="0" y="15">{most:.0f}</text><text x="0" y="{CHART}">0</text>'
    yield from _axis(plan, CHART)
    yield "</svg>"


def _axis(plan: Plan, y: int) -> Iterator[str]:
    for tenth in range(0, 11, 2):
        at_s = plan.seconds * tenth / 10
        anchor = "end" if tenth == 10 else "start" if tenth == 0 else "middle"
        shown = f"{at_s / 3600:.1f} h" if plan.seconds >= 7200 else f"{at_s / 60:.1f} min"
        x = _x(plan, at_s)
        yield f'<text x="{x:.1f}" y="{y + 16}" text-anchor="{anchor}">{shown}</text>'


def _svg(height: int, what: str) -> str:
    return f'<svg viewBox="0 0 {LEFT + WIDTH} {height}" role="img" aria-label="{escape(what)}">'


def _x(plan: Plan, at_s: float) -> float:
    return LEFT + WIDTH * min(1.0, at_s / plan.seconds)

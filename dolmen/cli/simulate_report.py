"""The page of a simulated run: when which process was hit by what, and how the cluster fared.

One file of HTML with its drawings inside: it loads nothing, runs nothing, and whatever comes from a
plan or a story is escaped. It is written beside its place and moved there whole.
"""

import os
from collections.abc import Callable, Sequence
from html import escape
from itertools import pairwise
from pathlib import Path

from dolmen.cli.simulate_drawing import Point, chart, legend, timeline
from dolmen.simulation.plan import Plan
from dolmen.simulation.run import Moment

#: A line of more points than pixels shows nothing more.
POINTS_MAX = 480

STYLE = """
:root{color-scheme:light dark;--ink:#222;--paper:#fff;--shade:#f4f4f2;--line:#2471a3;--grey:#999}
@media(prefers-color-scheme:dark){:root{--ink:#ddd;--paper:#1c1c1e;--shade:#29292c;--line:#6db3e0}}
body{font:15px/1.45 system-ui,sans-serif;max-width:1120px;margin:2em auto;padding:0 1em;
color:var(--ink);background:var(--paper)}
h1{font-size:1.4em}h2{font-size:1.1em;margin:1.8em 0 .4em}
pre{background:var(--shade);padding:1em;overflow-x:auto;white-space:pre-wrap;
overflow-wrap:anywhere}
svg{width:100%;height:auto}text{font:12px system-ui,sans-serif;fill:var(--ink)}
.row{fill:var(--shade)}.axis{stroke:var(--grey)}
.curve{fill:none;stroke:var(--line);stroke-width:1.5;stroke-linejoin:round;stroke-linecap:round}
ul{padding:0}li{display:inline-block;margin-right:1.2em}
.swatch{display:inline-block;width:.9em;height:.9em;margin-right:.3em;vertical-align:-.1em}
"""


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
            *timeline(plan),
            *legend(plan),
            "<h2>Datanodes that were down</h2>",
            *chart(plan, _highest(moments, lambda moment: moment.datanodes_down), marked=True),
            "<h2>Under-replicated blocks</h2>",
            *chart(plan, _highest(moments, lambda moment: moment.under_replicated), marked=True),
            "<p>As the namenode counted them; a gap means that it was away.</p>",
            "<h2>Operations acknowledged in a minute</h2>",
            *chart(plan, _per_minute(moments, lambda moment: moment.operations)),
            "<h2>Faults that hit work in flight, in a minute</h2>",
            *chart(plan, _per_minute(moments, lambda moment: moment.faults_in_flight)),
            "<h2>Plan</h2>",
            f"<details><summary>as <code>dolmen simulate --plan</code> reads it</summary>"
            f"<pre>{escape(plan.encode())}</pre></details>",
            "</body></html>\n",
        ]
    )


def _per_minute(moments: Sequence[Moment], figure: Callable[[Moment], int]) -> list[Point]:
    """Return (virtual time, how much a figure grew in a minute), at most POINTS_MAX of them."""
    step = -(-len(moments) // POINTS_MAX) or 1
    chosen = [Moment(0.0, 0, 0, 0), *moments[step - 1 :: step]]
    return [
        (after.virtual_s, 60 * (figure(after) - figure(before)) / span_s)
        for before, after in pairwise(chosen)
        if (span_s := after.virtual_s - before.virtual_s) > 0
    ]


def _highest(moments: Sequence[Moment], figure: Callable[[Moment], int | None]) -> list[Point]:
    """Return (virtual time, a figure at its highest), at most POINTS_MAX of them; where nobody
    knew it all the time, None."""
    step = -(-len(moments) // POINTS_MAX) or 1
    found: list[Point] = []
    for start in range(0, len(moments), step):
        these = moments[start : start + step]
        known = [value for moment in these if (value := figure(moment)) is not None]
        found.append((these[-1].virtual_s, max(known, default=None)))
    return found

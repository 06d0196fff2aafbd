"""The drawings of a run's page: which process was hit when, and curves over virtual time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from dolmen.simulation.faults import AnyFault
from dolmen.simulation.plan import NAMENODE, Plan, client_name, datanode_name

LEFT, WIDTH, ROW = 110, 980, 22
CHART = 120

#: Above the highest point of a curve.
MARGIN = 10

#: A dot is this wide, so that a fault of a moment in a run of hours can be seen.
LEAST_WIDTH = 2.0

EVERYWHERE = "everywhere"

#: Virtual time, and a figure; None where nobody knew it.
Point = tuple[float, float | None]

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


# ---------------------------------------------------------------- faults


def kind_of(fault: AnyFault) -> str:
    """Return the name of a fault's kind, as plans have it."""
    return str(fault.__struct_config__.tag)


def places_of(fault: AnyFault) -> tuple[str, ...]:
    """Return the processes that a fault hits; EVERYWHERE if it names none."""
    return fault.places or (EVERYWHERE,)


def timeline(plan: Plan) -> Iterator[str]:
    rows = [NAMENODE]
    rows += [datanode_name(index) for index in range(plan.datanodes)]
    rows += [client_name(index) for index in range(plan.clients)]
    rows.append(EVERYWHERE)
    height = ROW * len(rows) + ROW
    yield _svg(height, "Which process was hit by which fault, and when")
    for index, row in enumerate(rows):
        y = index * ROW
        if index % 2:
            yield f'<rect class="row" x="{LEFT}" y="{y}" width="{WIDTH}" height="{ROW}"/>'
        yield f'<text x="0" y="{y + 15}">{escape(row)}</text>'
    number = {row: index for index, row in enumerate(rows)}
    for fault in plan.faults:
        for place in places_of(fault):
            top = number.get(place, number[EVERYWHERE]) * ROW + 3
            yield _mark(plan, fault, Span(top, ROW - 6, 0.8))
    yield from _axis(plan, height - ROW)
    yield "</svg>"


@dataclass(frozen=True)
class Span:
    """Where a mark stands, and how much of what is behind it is to be seen."""

    top: int
    height: int
    opacity: float


#: Above a curve.
STRIP = Span(0, 6, 0.8)


def _mark(plan: Plan, fault: AnyFault, span: Span) -> str:
    x, end = _x(plan, fault.at_ms / 1000), _x(plan, fault.until_ms / 1000)
    width = max(LEAST_WIDTH, end - x)
    colour = COLOURS.get(kind_of(fault), OTHER_COLOUR)
    lasts_s = (fault.until_ms - fault.at_ms) / 1000
    told = f"{kind_of(fault)} at {fault.at_ms / 1000:g} s, for {lasts_s:g} s"
    return (
        f'<rect x="{x:.1f}" y="{span.top}" width="{width:.1f}" height="{span.height}"'
        f' fill="{colour}" fill-opacity="{span.opacity}"><title>{escape(told)}</title></rect>'
    )


def legend(plan: Plan) -> Iterator[str]:
    yield "<ul>"
    for kind in sorted({kind_of(fault) for fault in plan.faults}):
        count = sum(kind_of(fault) == kind for fault in plan.faults)
        colour = COLOURS.get(kind, OTHER_COLOUR)
        swatch = f'<span class="swatch" style="background:{colour}"></span>'
        yield f"<li>{swatch}{escape(kind)} ({count})</li>"
    yield "</ul>"


# ---------------------------------------------------------------- curves


def chart(plan: Plan, points: Sequence[Point], *, marked: bool = False) -> Iterator[str]:
    """Yield a curve, with gaps where nothing is known; `marked`: with the faults above it."""
    most = max((value for _, value in points if value is not None), default=0.0) or 1.0
    yield _svg(CHART + ROW, "A curve over virtual time")
    for fault in plan.faults if marked else ():
        yield _mark(plan, fault, STRIP)
    yield (f'<line class="axis" x1="{LEFT}" y1="{CHART}" x2="{LEFT + WIDTH}" y2="{CHART}"/>')
    for run in _unbroken(points):
        drawn = " ".join(f"{_x(plan, at_s):.1f},{_y(value / most):.1f}" for at_s, value in run)
        yield f'<polyline class="curve" points="{drawn}"/>'
    yield f'<text x="0" y="{MARGIN + 5}">{most:.0f}</text><text x="0" y="{CHART}">0</text>'
    yield from _axis(plan, CHART)
    yield "</svg>"


def _unbroken(points: Sequence[Point]) -> list[list[tuple[float, float]]]:
    runs: list[list[tuple[float, float]]] = [[]]
    for at_s, value in points:
        if value is not None:
            runs[-1].append((at_s, value))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _y(share: float) -> float:
    return CHART - (CHART - MARGIN) * share


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

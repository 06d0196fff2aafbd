"""What a process keeps in memory, measured without knowing what it is made of.

From the process on, whatever its own code holds is followed (attributes, closures, elements), and
each container is measured: a dictionary, list, set or queue is known by the class and attribute
that hold it, and of several alike the longest counts. What is simulated is not measured, and leads
only to what it holds of the process; tasks are not followed, they are counted by themselves.
"""

import asyncio
import types
from collections import deque
from collections.abc import Iterator
from typing import Any

CONTAINERS = (dict, list, set, deque)
OPAQUE = (str, bytes, int, float, type, types.ModuleType, asyncio.Future, asyncio.AbstractEventLoop)
SIMULATED = "dolmen.simulation."
OURS = ("namenode.", "datanode.", "dolmen.")


def measure(root: object) -> dict[str, int]:
    """Return the length of every container that `root` leads to, by the name of who holds it."""
    sizes: dict[str, int] = {}
    seen: set[int] = set()
    pending = [("", root)]
    while pending:
        name, value = pending.pop()
        if id(value) in seen or isinstance(value, OPAQUE):
            continue
        seen.add(id(value))
        if isinstance(value, CONTAINERS):
            sizes[name] = max(len(value), sizes.get(name, 0))
        pending += _parts(name, value)
    return sizes


def _parts(name: str, value: Any) -> Iterator[tuple[str, object]]:
    """Yield what a value leads to, named."""
    if isinstance(value, dict):
        yield from ((f"{name}[]", part) for pair in value.items() for part in pair)
    elif isinstance(value, list | tuple | set | frozenset | deque):
        yield from ((f"{name}[]", part) for part in value)
    elif isinstance(value, types.MethodType):
        yield name, value.__self__
    elif isinstance(value, types.FunctionType):
        cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
        yield from ((f"{value.__qualname__}.{var}", cell.cell_contents) for var, cell in cells)
    else:
        holder = type(value).__name__ if _is_ours(value) else name
        for attribute, part in _attributes(value):
            if _is_ours(part) or not _is_simulated(value):
                yield f"{holder}.{attribute}", part


def _attributes(value: object) -> Iterator[tuple[str, object]]:
    yield from getattr(value, "__dict__", {}).items()
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            if hasattr(value, slot):
                yield slot, getattr(value, slot)


def _is_simulated(value: object) -> bool:
    return type(value).__module__.startswith(SIMULATED)


def _is_ours(value: object) -> bool:
    return type(value).__module__.startswith(OURS) and not _is_simulated(value)

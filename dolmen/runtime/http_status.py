"""What a listener shows to people and their tools: `/metrics` and `/healthz`.

`/healthz` answers 200 while the daemon can do its work and 503 otherwise, with the same JSON, which
says why. Both come from memory, without a lock, and are answered however busy the disks are.
"""

from collections.abc import Iterator
from itertools import chain

import msgspec
from aiohttp import hdrs, web

from dolmen.runtime.crowd import Crowd, Doing
from dolmen.runtime.http_metrics import CONTENT_TYPE, exposition
from dolmen.runtime.metrics import Metric, Status, counter, counters, gauge, gauges

METRICS, HEALTH = "/metrics", "/healthz"

PATHS = (METRICS, HEALTH)


def status_page(request: web.BaseRequest, status: Status, crowd: Crowd) -> web.Response:
    """Answer a request for one of `PATHS`."""
    if request.method not in (hdrs.METH_GET, hdrs.METH_HEAD):
        return web.Response(status=405, text="this page is read by GET\n")
    if request.path == METRICS:
        text = exposition(chain(status.metrics(), listener_metrics(crowd)))
        return web.Response(body=text, headers={hdrs.CONTENT_TYPE: CONTENT_TYPE})
    health = status.health()
    said = {"status": "ok" if health.ok else "failing", **health.details}
    return web.Response(
        status=200 if health.ok else 503,
        body=msgspec.json.encode(said) + b"\n",
        content_type="application/json",
    )


def listener_metrics(crowd: Crowd) -> Iterator[Metric]:
    """Yield who is connected to this port."""
    yield gauges(
        "dolmen_listener_connections",
        "Open connections by what they do.",
        "doing",
        {doing.value: crowd.count(doing) for doing in Doing},
    )
    yield counter(
        "dolmen_listener_connections_accepted_total", "Connections accepted.", crowd.accepted
    )
    yield counters(
        "dolmen_listener_connections_reset_total",
        "Connections that had to go: silent for too long, too many, too much unread.",
        "reason",
        {reason.value: count for reason, count in crowd.resets.items()},
    )
    yield counter("dolmen_listener_unreadable_requests_total", "What is no HTTP.", crowd.unreadable)
    yield gauge(
        "dolmen_listener_unread_bytes",
        "Bytes of heads and frames that have arrived in part.",
        crowd.unread_bytes,
    )

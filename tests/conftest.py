"""What holds for every test: hypothesis's profiles, ports that no other process of the suite takes,
signals that are heeded, and that nothing is skipped unseen in CI."""

import os
import signal
from collections.abc import Generator

import hypothesis
import pytest

from dolmen.cli.free_ports import HIGHEST_PORT, LOWEST_PORT, PORTS_VARIABLE

IN_CI = bool(os.environ.get("CI"))

# Examples have no deadline of their own: how long one takes tells of the machine's load. In CI the
# examples are the same in every run, so that a failure belongs to the change that it is seen on.
SLOW_IS_FINE = [hypothesis.HealthCheck.too_slow]
hypothesis.settings.register_profile(
    "default", deadline=None, print_blob=True, suppress_health_check=SLOW_IS_FINE
)
hypothesis.settings.register_profile(
    "ci",
    deadline=None,
    print_blob=True,
    suppress_health_check=SLOW_IS_FINE,
    derandomize=True,
    database=None,
)
hypothesis.settings.load_profile("ci" if IN_CI else "default")


def _ports_of_this_process() -> str:
    """Its share: the port of a daemon that is down looks free to the other processes."""
    number = int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw"))
    share = (HIGHEST_PORT + 1 - LOWEST_PORT) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    first = LOWEST_PORT + number * share
    return f"{first}-{first + share - 1}"


if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ[PORTS_VARIABLE] = _ports_of_this_process()

# Whoever starts the suite with `nohup`, or in the background of a script, has it ignore these, and
# so would all that it starts.
for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, usual)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _fail_if_skipped(report)
    return report


def _fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    """In CI everything a test needs is there: a skipped test is one that nobody watches."""
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
        report.outcome = "failed"
        report.longrepr = f"skipped tests count as failures in CI: {reason}"

"""How plans are drawn, so that one that fails shrinks: fewer faults, less work, a shorter run.

Faults may lie in any way over each other here, so none that destroys anything is among them.
"""

import hypothesis.strategies as st

from dolmen.simulation import faults
from dolmen.simulation.faults import AnyFault
from dolmen.simulation.plan import NAMENODE, Plan, client_name, datanode_name
from dolmen.simulation.plan_shapes import PACES
from dolmen.simulation.sim_inode import Keeps
from dolmen.simulation.work_plan import KINDS, Work

DATANODES = 5
CLIENTS_MAX = 3
DOWN_MS_MAX = 30_000
TURNS_MAX = 200
CLOCK_AHEAD_MS_MAX = 5_000

seeds = st.integers(0, 2**32)
spans_ms = st.integers(1, DOWN_MS_MAX)
works = st.builds(
    Work,
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=4, unique=True).map(tuple),
    pause_ms=st.sampled_from((500, 1_000, 2_500)),
)


@st.composite
def plans(draw: st.DrawFn, seconds_max: int = 200) -> Plan:
    """Draw a plan of at most so many virtual seconds."""
    seconds = draw(st.integers(20, seconds_max))
    clients = draw(st.integers(1, CLIENTS_MAX))
    found = draw(st.lists(_faults(seconds, clients), max_size=seconds // 8))
    return Plan(
        draw(seeds),
        seconds,
        DATANODES,
        clients,
        racks=draw(st.sampled_from((1, 2, 3))),
        volumes=draw(st.sampled_from((1, 2))),
        pace=draw(st.sampled_from(PACES)),
        faults=tuple(sorted(found, key=lambda fault: fault.at_ms)),
        work=draw(works),
    )


def _faults(seconds: int, clients: int) -> st.SearchStrategy[AnyFault]:
    datanodes = [datanode_name(index) for index in range(DATANODES)]
    servers = [NAMENODE, *datanodes]
    hosts = [*servers, *(client_name(index) for index in range(clients))]
    at_ms = st.integers(0, seconds * 1000)
    return st.one_of(
        _of_processes(at_ms, servers, hosts),
        _of_networks(at_ms, hosts),
        _of_disks(at_ms, datanodes),
        st.builds(
            faults.ClockJump,
            at_ms=at_ms,
            process=st.sampled_from(servers),
            ahead_ms=st.integers(-CLOCK_AHEAD_MS_MAX, CLOCK_AHEAD_MS_MAX),
        ),
    )


def _of_processes(
    at_ms: st.SearchStrategy[int], servers: list[str], hosts: list[str]
) -> st.SearchStrategy[AnyFault]:
    turns, process = st.integers(0, TURNS_MAX), st.sampled_from(hosts)
    return st.one_of(
        st.builds(faults.Kill, at_ms=at_ms, process=process, down_ms=spans_ms, turn=turns),
        st.builds(
            faults.PowerLoss,
            at_ms=at_ms,
            process=st.sampled_from(servers),
            down_ms=spans_ms,
            keeps=st.sampled_from(Keeps),
            turn=turns,
        ),
        st.builds(faults.Pause, at_ms=at_ms, process=process, for_ms=spans_ms),
    )


def _of_networks(at_ms: st.SearchStrategy[int], hosts: list[str]) -> st.SearchStrategy[AnyFault]:
    pairs = st.lists(st.sampled_from(hosts), min_size=2, max_size=2, unique=True)
    return st.one_of(
        st.builds(
            lambda at_ms, for_ms, pair, one_way: faults.Cut(
                at_ms=at_ms, for_ms=for_ms, source=pair[0], target=pair[1], one_way=one_way
            ),
            at_ms,
            spans_ms,
            pairs,
            st.booleans(),
        ),
        st.builds(
            lambda at_ms, pair: faults.HalfOpen(at_ms=at_ms, source=pair[0], target=pair[1]),
            at_ms,
            pairs,
        ),
        st.builds(
            faults.PacketLoss, at_ms=at_ms, for_ms=spans_ms, chance=st.sampled_from((0.01, 0.1))
        ),
        st.builds(
            faults.Resets, at_ms=at_ms, for_ms=spans_ms, chance=st.sampled_from((0.002, 0.01))
        ),
    )


def _of_disks(at_ms: st.SearchStrategy[int], datanodes: list[str]) -> st.SearchStrategy[AnyFault]:
    process, chances = st.sampled_from(datanodes), st.sampled_from((0.02, 0.3))
    times = st.sampled_from((10, 100))
    return st.one_of(
        st.builds(faults.SlowDisk, at_ms=at_ms, for_ms=spans_ms, process=process, times=times),
        st.builds(faults.HungDisk, at_ms=at_ms, for_ms=spans_ms, process=process),
        st.builds(faults.FullDisk, at_ms=at_ms, for_ms=spans_ms, process=process),
        st.builds(faults.ReadErrors, at_ms=at_ms, for_ms=spans_ms, process=process, chance=chances),
    )

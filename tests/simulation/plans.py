"""How plans are drawn, so that one that fails shrinks: fewer faults, less work, a shorter run."""

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

seeds = st.integers(0, 2**32)
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
        racks=draw(st.sampled_from((1, 2))),
        pace=draw(st.sampled_from(PACES)),
        faults=tuple(sorted(found, key=lambda fault: fault.at_ms)),
        work=draw(works),
    )


def _faults(seconds: int, clients: int) -> st.SearchStrategy[AnyFault]:
    servers = [NAMENODE, *(datanode_name(index) for index in range(DATANODES))]
    processes = st.sampled_from([*servers, *(client_name(index) for index in range(clients))])
    at_ms, down_ms = st.integers(0, seconds * 1000), st.integers(1, DOWN_MS_MAX)
    turns = st.integers(0, TURNS_MAX)
    return st.one_of(
        st.builds(faults.Kill, at_ms=at_ms, process=processes, down_ms=down_ms, turn=turns),
        st.builds(
            faults.PowerLoss,
            at_ms=at_ms,
            process=st.sampled_from(servers),
            down_ms=down_ms,
            keeps=st.sampled_from(Keeps),
            turn=turns,
        ),
        st.builds(faults.Pause, at_ms=at_ms, process=processes, for_ms=down_ms),
    )

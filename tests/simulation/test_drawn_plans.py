"""Whatever plan is drawn, every property holds; one for which it does not is shrunk and told.

A few plans are drawn here, the same in every run. To search with many:
`DOLMEN_PLANS=1000 pytest tests/simulation/test_drawn_plans.py` draws new ones in every run.
"""

import os

from hypothesis import HealthCheck, Phase, given, settings

from dolmen.simulation.plan import Plan
from dolmen.simulation.run import simulate
from tests.simulation.plans import plans

WANTED = os.environ.get("DOLMEN_PLANS")

search = settings(
    max_examples=int(WANTED or 6),
    derandomize=WANTED is None,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink],
)


@search
@given(plans(seconds_max=120))
def test_every_property_holds_whatever_the_plan(plan: Plan) -> None:
    simulate(plan)

"""`python -m dolmen.simulation --seed N` runs one plan and says what happened."""

import logging
import sys
import time

import click

from dolmen.simulation.plan import Plan
from dolmen.simulation.plan_maker import ALL_FAMILIES, Family, make_plan
from dolmen.simulation.run import SimulationFailed, simulate


@click.command()
@click.option("--seed", default=1, show_default=True, help="What the plan is drawn from.")
@click.option("--seconds", default=1000, show_default=True, help="Virtual time with faults.")
@click.option("--datanodes", default=5, show_default=True, help="How many datanodes there are.")
@click.option(
    "--faults",
    "families",
    default=",".join(family.value for family in Family),
    show_default=True,
    help="Which kinds of faults there are.",
)
@click.option("--plan", help="A plan as JSON, as a failure tells it.")
def main(seed: int, seconds: int, datanodes: int, families: str, plan: str | None) -> None:
    """Run a whole cluster in virtual time, and check that it keeps what it promises."""
    logging.getLogger().addHandler(logging.NullHandler())
    if plan is not None:
        _run(Plan.decode(plan))
    else:
        wanted = frozenset(Family(name) for name in families.split(",")) & ALL_FAMILIES
        _run(make_plan(seed, seconds, datanodes, wanted))


def _run(plan: Plan) -> None:
    click.echo(
        f"seed {plan.seed}: {plan.datanodes} datanodes, {plan.clients} clients, {plan.seconds}"
        f" virtual seconds, {len(plan.faults)} faults planned"
    )
    began_s = time.monotonic()
    try:
        result = simulate(plan)
    except SimulationFailed as failed:
        click.echo(str(failed))
        click.echo("FAILED")
        sys.exit(1)
    click.echo(
        f"{result.faults} faults, {result.faults_in_flight} of them hit a cluster at work;"
        f" {result.operations} operations, {result.files} files in {result.blocks} blocks at the"
        f" end; {result.virtual_s:.0f} virtual seconds in {time.monotonic() - began_s:.1f}"
    )
    click.echo("PASSED: nothing lost, nothing forged, nothing left over, all replicas restored")
    click.echo(f"trace {result.digest}")


if __name__ == "__main__":
    main()

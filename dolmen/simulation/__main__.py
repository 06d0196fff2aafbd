"""`python -m dolmen.simulation --seed N` runs one plan and says what happened."""

import logging
import sys
import time

import click

from dolmen.simulation.faults import FaultKind, Plan, make_plan
from dolmen.simulation.run import SimulationFailed, simulate


@click.command()
@click.option("--seed", default=1, show_default=True, help="What the plan is drawn from.")
@click.option("--seconds", default=1000, show_default=True, help="Virtual time with faults.")
@click.option("--datanodes", default=5, show_default=True, help="How many datanodes there are.")
@click.option("--namenode-lives", is_flag=True, help="Only datanodes and clients die.")
@click.option("--plan", help="A plan as JSON, as a failure tells it.")
def main(
    seed: int, seconds: int, datanodes: int, *, namenode_lives: bool, plan: str | None
) -> None:
    """Run a whole cluster in virtual time, and check that it keeps what it promises."""
    logging.getLogger().addHandler(logging.NullHandler())
    if plan is not None:
        _run(Plan.decode(plan))
    else:
        _run(make_plan(seed, seconds, datanodes, namenode_dies=not namenode_lives))


def _run(plan: Plan) -> None:
    power = sum(fault.kind is FaultKind.POWER_LOSS for fault in plan.faults)
    click.echo(
        f"seed {plan.seed}: {plan.datanodes} datanodes, {plan.clients} clients, {plan.seconds}"
        f" virtual seconds, {len(plan.faults)} deaths, {power} of them by loss of power"
    )
    began_s = time.monotonic()
    try:
        result = simulate(plan)
    except SimulationFailed as failed:
        click.echo(str(failed))
        click.echo("FAILED")
        sys.exit(1)
    click.echo(
        f"{result.operations} operations, {result.files} files in {result.blocks} blocks at the"
        f" end; {result.virtual_s:.0f} virtual seconds in {time.monotonic() - began_s:.1f}"
    )
    click.echo("PASSED: nothing lost, nothing forged, nothing left over, all replicas restored")
    click.echo(f"trace {result.digest}")


if __name__ == "__main__":
    main()

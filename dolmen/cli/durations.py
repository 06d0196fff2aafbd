"""A time on the command line, as `10s` or `1h`."""

import click

from dolmen.runtime.units import parse_duration


class Duration(click.ParamType[int]):
    """Milliseconds, at least one."""

    name = "duration"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        try:
            duration_ms = parse_duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if not duration_ms:
            self.fail("name a time that is not over already", param, ctx)
        return duration_ms

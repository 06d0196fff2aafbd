"""One row of the table of settings: its unit, default, limits and the reason for them."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from dolmen.runtime.units import SIZE, Unit

Value = int | float


class SettingsError(ValueError):
    """A setting cannot be used. Says which, its value, what is allowed and where it came from."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One row of the table. The values are in the attribute's unit: bytes, milliseconds, pieces."""

    name: str
    unit: Unit
    default: Value
    minimum: Value
    maximum: Value
    multiple_of: int
    reason: str

    @property
    def attribute(self) -> str:
        return self.name + self.unit.suffix

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def environment_variable(self) -> str:
        return "DOLMEN_" + self.name.upper()

    @property
    def default_text(self) -> str:
        return self.unit.format(self.default)

    @property
    def allowed(self) -> str:
        """The limits, as text: `64KiB to 2GiB, a multiple of 64KiB`."""
        limits = f"{self.unit.format(self.minimum)} to {self.unit.format(self.maximum)}"
        if self.multiple_of == 1:
            return limits
        return f"{limits}, a multiple of {self.unit.format(self.multiple_of)}"

    @property
    def help(self) -> str:
        return f"{self.reason} [default: {self.default_text}; allowed: {self.allowed}]"

    def parse(self, text: str, origin: str) -> Value:
        """The value of `text`, within the limits; `origin` tells an error where it stood."""
        try:
            value = self.unit.parse(text)
        except ValueError as error:
            message = f"{self.name}: {error} ({origin}; allowed: {self.allowed})"
            raise SettingsError(message) from None
        self.check(value, origin)
        return value

    def check(self, value: Value, origin: str) -> None:
        within = self.minimum <= value <= self.maximum
        if not within or (self.multiple_of > 1 and value % self.multiple_of):
            raise SettingsError(
                f"{self.name}: {self.unit.format(value)} is not allowed"
                f" ({origin}; allowed: {self.allowed})"
            )


def row(
    unit: Unit, default: str, limits: tuple[str, str], reason: str, *, multiple_of: str = "1"
) -> Any:
    """A field of `Settings` that carries its row of the table, all but the name."""
    fields = {
        "unit": unit,
        "default": unit.parse(default),
        "minimum": unit.parse(limits[0]),
        "maximum": unit.parse(limits[1]),
        "multiple_of": unit.parse(multiple_of) if unit is SIZE else 1,
        "reason": reason,
    }
    return dataclasses.field(default=fields["default"], metadata=fields)

"""Variables of the environment that look like ours and are not: most likely misspelt."""

import difflib
from collections.abc import Iterator, Mapping

from dolmen.cli.free_ports import PORTS_VARIABLE
from dolmen.client.url import URL_VARIABLE, USER_VARIABLE
from dolmen.runtime.settings import SETTINGS
from dolmen.runtime.settings_sources import CONFIG_VARIABLE

PREFIX = "DOLMEN_"

KNOWN = (
    *(setting.environment_variable for setting in SETTINGS),
    *(URL_VARIABLE, USER_VARIABLE, CONFIG_VARIABLE, PORTS_VARIABLE),
)

#: What is less like a known one is somebody's own, such as the variables of a container's links.
LIKENESS = 0.8


def misspelt_variables(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Each variable that is not known but nearly, with the known one that was probably meant."""
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in KNOWN:
            beside = [known.removeprefix(PREFIX) for known in KNOWN]
            word = name.removeprefix(PREFIX)
            for nearest in difflib.get_close_matches(word, beside, n=1, cutoff=LIKENESS):
                yield name, PREFIX + nearest

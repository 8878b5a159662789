"""Which database a command reads."""

import os
from typing import Final

from service.domain.errors import ConfigurationError

URL_VARIABLE: Final = "PORTCULLIS_DATABASE_URL"


def database_url() -> str:
    """Return PORTCULLIS_DATABASE_URL, or what `portcullis up` wrote for the schedule. Raises ConfigurationError."""
    from service.commands.runtime import layout  # noqa: PLC0415  --help must not pay for the database driver
    from service.runtime.environment import read_environment  # noqa: PLC0415  as above

    given = os.environ.get(URL_VARIABLE, "")
    if given:
        return given
    found = (read_environment(layout(), "schedule") or {}).get(URL_VARIABLE, "")
    if not found:
        raise ConfigurationError(
            f"no database is named: set {URL_VARIABLE}, or run this in the folder of `portcullis up`, as who may read it"
        )
    return found

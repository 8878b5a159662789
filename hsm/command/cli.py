"""What the commands of `portcullis hsm` share: which token is meant, and how a refusal is told.

Rules held here:
- A token is the one of `--uri`, else of PORTCULLIS_<POWER>_URI, else the embedded SoftHSM folder below `--home`.
- A refusal by the token layer is printed as text with its code, without a traceback, and ends with exit code 1.
- No token is opened here.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, TypeVar

import typer
from rich.console import Console
from rich.text import Text

from hsm.errors import HsmError
from hsm.power import Power
from hsm.softhsm import SoftHsmFolder, find_module

DEFAULT_HOME: Final = Path(".portcullis")
Home = Annotated[Path, typer.Option("--home", help="Installation folder with the embedded SoftHSM tokens.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a program instead of a table.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]

_Result = TypeVar("_Result")
_err: Final = Console(stderr=True)


@dataclass(frozen=True, slots=True)
class Target:
    """One token to work on: by the URI that was given, or as an embedded SoftHSM folder."""

    power: Power
    given: str | None
    """The user's own token; None for the embedded one."""
    home: Path

    @classmethod
    def chosen(cls, power: Power, home: Path, uri: str | None = None) -> "Target":
        """Return the token of a power; `uri` is the command line's and wins over the environment's."""
        return cls(power, uri or os.environ.get(f"PORTCULLIS_{power.name}_URI") or None, home)

    @property
    def place(self) -> Path:
        """The embedded token's folder."""
        return (self.home / "tokens" / self.power.value).absolute()

    def folder(self) -> SoftHsmFolder:
        """Return the embedded token's files. Raises ModuleMissingError without SoftHSM's library."""
        return SoftHsmFolder(self.power, self.place, find_module(os.environ))

    def uri(self) -> str:
        """Return the PKCS#11 URI that opens the token. Raises ModuleMissingError as above."""
        return self.given or self.folder().uri


def guarded(work: Callable[[], _Result]) -> _Result:
    """Return what `work` returns; a refusal is printed and raises typer.Exit."""
    try:
        return work()
    except HsmError as failure:
        _err.print(Text(f"portcullis: {failure} ({failure.code})"), soft_wrap=True)
        raise typer.Exit(1) from None

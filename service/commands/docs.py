"""`portcullis docs`: writes docs/generated from the declarations. No second copy exists."""

from pathlib import Path
from typing import Annotated

import typer

from service.domain.errors import InputError


def docs(folder: Annotated[Path, typer.Argument(help="Where to write.")] = Path("docs/generated")) -> None:
    """Write the action list, the capability matrix, the detector list and the API's calls with their roles.

    Example: `portcullis docs docs/generated`
    """
    from service.commands.reference import pages  # noqa: PLC0415  --help must not pay for the engine and the web framework

    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in pages().items():
            (folder / name).write_text(text, encoding="utf-8")
            typer.echo(f"{folder / name} written")
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror}", field="folder") from error

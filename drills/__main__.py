"""Start `drills/command.py`; without the packages that it needs, say how to install them instead of a traceback."""

import sys

IMPOSSIBLE = 2
OURS = "drills"


def main() -> None:
    """Run the command. Exit code 2 when a package is missing."""
    try:
        from drills.command import app  # noqa: PLC0415  what it imports may not be installed
    except ModuleNotFoundError as missing:
        package = (missing.name or "").partition(".")[0]
        if package == OURS:
            raise
        sys.stderr.write(
            f"drill: the package {package} is not installed for {sys.executable}: run `make install` in the repository,"
            " then `.venv/bin/python -m drills`\n"
        )
        sys.exit(IMPOSSIBLE)
    app()


if __name__ == "__main__":
    main()

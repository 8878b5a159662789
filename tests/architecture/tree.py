"""The project's files as the architecture tests see them: what a clone holds, without caches and state."""

import ast
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGES: Final = ("service", "workers", "rules", "hsm", "drills")
CODE_FOLDERS: Final = (*PACKAGES, "tests", "bench", "scripts", "docs")

_NOT_OURS: Final = {".git", ".venv", ".portcullis", "build", "dist", "node_modules", "__pycache__"}
_MAX_TEXT_BYTES: Final = 2_000_000


@dataclass(frozen=True)
class Source:
    """One Python file; `path` is relative to the root, with forward slashes."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, filename=self.path)

    def at(self, node: ast.AST, message: str) -> str:
        """Return `path:line: message`."""
        return f"{self.path}:{getattr(node, 'lineno', 1)}: {message}"

    def within(self, *prefixes: str) -> bool:
        """Say whether the file is one of these, or lies below one of these folders."""
        return any(self.path == prefix or self.path.startswith(prefix.rstrip("/") + "/") for prefix in prefixes)


def files(*folders: str) -> Iterator[Path]:
    """Yield every file of the project below these folders (all of it when none is given), sorted."""
    for start in [ROOT / folder for folder in folders] or [ROOT]:
        for base, names, found in os.walk(start):
            names[:] = sorted(
                name for name in names if name not in _NOT_OURS and not name.endswith(("_cache", ".egg-info"))
            )
            names[:] = [name for name in names if name != ".hypothesis"]
            yield from (Path(base) / name for name in sorted(found))


def sources(*folders: str) -> list[Source]:
    """Return the Python files below these folders; the folders are CODE_FOLDERS when none is given."""
    chosen = folders or CODE_FOLDERS
    return [
        Source(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
        for path in files(*chosen)
        if path.suffix == ".py"
    ]


def texts() -> Iterator[tuple[str, str]]:
    """Yield (relative path, text) of every text file of the project up to 2 MB."""
    for path in files():
        if path.name.startswith(".coverage") or path.name == "sbom.json" or path.stat().st_size > _MAX_TEXT_BYTES:
            continue
        try:
            yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue

"""Finds what is declared once, one per file: containment actions and custody platforms (design D6).

A folder is scanned, never listed by hand. A wrong declaration stops start-up with a message that names its file: an
action that is silently absent would be a gate that silently stays open. Deliberately knows no declaration type: callers
say what they look for, so that this module may be imported from anywhere.
"""

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import TypeVar

from service.domain.errors import ConfigurationError

T = TypeVar("T")


def subclasses(package: str, base: type[T]) -> dict[str, type[T]]:
    """Return the concrete subclass of `base` that each module of `package` defines, by its `name` attribute.

    A module defines one or none (then it is a helper and its own name starts with an underscore, or it is where `base`
    itself stands). Raises ConfigurationError that names the file: import failure, several in one file, a missing or
    doubled name, or a name that is not the file's.
    """
    found: dict[str, type[T]] = {}
    for module in _modules(package):
        if module.__name__ == base.__module__:
            continue
        own = [thing for thing in vars(module).values() if _defined_here(thing, base, module)]
        if len(own) != 1:
            raise ConfigurationError(
                f"{module.__file__}: defines {len(own)} of {base.__name__}, must define exactly one"
            )
        _enter(found, getattr(own[0], "name", None), own[0], module)
    return found


def declarations(package: str, attribute: str, kind: type[T]) -> dict[str, T]:
    """Return what each module of `package` holds in `attribute`, by its `name`.

    A module whose own name is `base` holds none. Raises ConfigurationError that names the file.
    """
    found: dict[str, T] = {}
    for module in _modules(package):
        if module.__name__ == f"{package}.base":
            continue
        declared = getattr(module, attribute, None)
        if not isinstance(declared, kind):
            raise ConfigurationError(f"{module.__file__}: has no {attribute} of type {kind.__name__}")
        _enter(found, getattr(declared, "name", None), declared, module)
    return found


def _modules(package: str) -> Iterator[ModuleType]:
    parent = importlib.import_module(package)
    for info in sorted(pkgutil.iter_modules(parent.__path__), key=lambda one: one.name):
        if info.name.startswith("_"):
            continue
        name = _door(f"{package}.{info.name}") if info.ispkg else f"{package}.{info.name}"
        try:
            yield importlib.import_module(name)
        except Exception as error:
            place = f"{parent.__path__[0]}/{info.name}"
            raise ConfigurationError(f"{place}: cannot be loaded: {type(error).__name__}: {error}") from error


def _door(package: str) -> str:
    # Every __init__.py is empty, so a declaration that is a folder stands in its module `platform`.
    return f"{package}.platform"


def _defined_here(thing: object, base: type, module: ModuleType) -> bool:
    return (
        isinstance(thing, type)
        and issubclass(thing, base)
        and thing.__module__ == module.__name__
        and not getattr(thing, "__abstractmethods__", None)
    )


def _enter(found: dict[str, T], name: object, thing: T, module: ModuleType) -> None:
    place = module.__name__.split(".")
    if not isinstance(name, str) or name not in place:
        raise ConfigurationError(f"{module.__file__}: is named {name!r}; the name must be the file's or the folder's")
    if name in found:
        raise ConfigurationError(f"{module.__file__}: the name {name!r} is declared twice")
    found[name] = thing

"""The only place that compiles: everything the engine runs per event goes through ``compiled``.

Rules enforced here:
- No relaxed arithmetic (no fastmath, no contraction, no threads): the same inputs give the same bits on every machine,
  compiled or interpreted (``NUMBA_DISABLE_JIT=1``).
- A compiled function is kept on disk under a digest of every source that it may have been made from, the compiler's
  version and this machine's processor, so that a changed source can never meet an old binary. The compiler itself looks
  only at the file of the decorated function.
- A kept binary is loaded from a folder that this process need not be able to write: services run under users of their
  own. Without one, the function is compiled again, in the user's own cache folder or in memory, and a log line says so.
"""

import hashlib
import logging
import re
import sys
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import numba
from llvmlite import ir  # type: ignore[import-untyped]  # ships no types
from numba import types
from numba.core import caching, cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from rules.linking import NEAR

Function = TypeVar("Function", bound=Callable[..., object])

_ROOT: Final = Path(__file__).resolve().parent
_TOP: Final = "rules/kernel.py"
_IMPORT: Final = re.compile(r"^from (rules(?:\.\w+)*) import (?:\(([^)]*)\)|([^(\n]*)$)", re.MULTILINE)
_LOG: Final = logging.getLogger(__name__)
COMPLETE: Final = "complete"
"""The file that says that a folder holds everything; then it is only read."""

_JIT: Final[Any] = numba.njit
"""The compiler's own types know neither its private options nor where a dispatcher keeps its code."""

_CONFIG: Final[Any] = numba.config
_BUILD: Final[Any] = cgutils

_CONFIG.SLP_VECTORIZE = 1
"""A few equal steps side by side become one vector instruction. That reorders no arithmetic: the bits stay."""

_INSTALLED: Final = _ROOT / "__pycache__" / "kernel"
"""Where installation keeps compiled code: beside the sources, like the interpreter's own."""


def compiled(function: Function) -> Function:
    """The function as a part of other compiled ones, into which it is built. Python cannot call it."""
    made = _JIT(
        error_model="numpy",
        boundscheck=False,
        _nrt=False,
        forceinline=True,
        no_cpython_wrapper=True,
        no_cfunc_wrapper=True,
    )(function)
    return cast("Function", made)


def entry(function: Function) -> Function:
    """The function, compiled when it is first called, by Python or by a compiled one, and kept on disk.

    It takes and gives numbers and arrays.
    """
    made = _JIT(error_model="numpy", boundscheck=False, _nrt=False, no_cfunc_wrapper=True)(function)
    if hasattr(made, "py_func"):
        made._cache = _Cache(function)  # noqa: SLF001 -- the compiler offers no other way to name the folder
    return cast("Function", made)


@intrinsic
def _prefetch(_context: Any, array: Any, at: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        made = context.make_array(signature.args[0])(context, builder, arguments[0])
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        function = _BUILD.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        pointer = builder.bitcast(builder.gep(made.data, [arguments[1]]), byte)
        builder.call(function, [pointer, word(1), word(3), word(1)])
        return context.get_dummy_value()

    return types.void(array, at), generate


@intrinsic
def _lowest(_context: Any, bits: Any) -> Any:
    if bits != types.int64:
        return None

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.IntType(1)(1))

    return types.int64(bits), generate


@intrinsic
def _ones(_context: Any, bits: Any) -> Any:
    if bits != types.int64:
        return None

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(bits), generate


def _lowest_of(bits: int) -> int:
    """As the machine's own instruction, for interpreted code."""
    return (int(bits) & -int(bits)).bit_length() - 1


def _ones_of(bits: int) -> int:
    return int(bits).bit_count()


lowest: Callable[[int], int] = cast("Any", _lowest_of if _CONFIG.DISABLE_JIT else _lowest)
"""``lowest(bits)``: the place of the lowest bit that is set, of bits of which one is."""


ones: Callable[[int], int] = cast("Any", _ones_of if _CONFIG.DISABLE_JIT else _ones)
"""``ones(bits)``: how many bits are set."""


def _nothing(_array: object, _at: int) -> None:
    """Interpreted code fetches nothing ahead."""


prefetch: Callable[[object, int], None] = cast("Any", _nothing if _CONFIG.DISABLE_JIT else _prefetch)
"""``prefetch(array, at)``: ask memory for the line that holds an element, to be there when it is read. Changes no result."""


def sources(top: str = _TOP) -> tuple[Path, ...]:
    """Every source file of this folder that the kernel is made from: what it imports, directly or not."""
    found: set[Path] = set()
    waiting = [_ROOT.parent / top, _ROOT / "compiled.py"]
    while waiting:
        file = waiting.pop()
        if file in found or not file.is_file():
            continue
        found.add(file)
        for module, bracketed, plain in _IMPORT.findall(file.read_text(encoding="utf-8")):
            base = _ROOT.parent / Path(*module.split("."))
            waiting.append(base.with_suffix(".py"))
            waiting += [base / f"{name}.py" for name in re.findall(r"\w+", bracketed or plain)]
    return tuple(sorted(found))


@lru_cache(maxsize=1)
def digest() -> str:
    """What the compiled code is made from, in one word: sources, compiler, interpreter and processor."""
    made_from = hashlib.sha256()
    codegen = cpu_target.target_context.codegen()
    made_from.update(repr((numba.__version__, sys.version_info[:3], codegen.magic_tuple(), NEAR)).encode())
    for file in sources():
        made_from.update(file.name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return made_from.hexdigest()[:24]


def _own_cache() -> Path:
    return Path.home() / ".cache" / "portcullis" / "kernel"


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, RuntimeError):
        return False
    return True


@lru_cache(maxsize=1)
def folder() -> Path | None:
    """Where compiled code is kept: the installation's folder if it holds this version or can be written, else the user's.

    ``None`` when neither can be written: then nothing is kept.
    """
    installed = _INSTALLED / digest()
    if (installed / COMPLETE).exists() or _writable(installed):
        return installed
    try:
        own = _own_cache() / digest()
    except RuntimeError:
        own = None
    if own is not None and _writable(own):
        _LOG.warning("engine: no compiled kernel in %s: compiling it into %s (about a minute, once)", installed, own)
        return own
    _LOG.warning("engine: no compiled kernel in %s and no writable folder: compiling it in memory", installed)
    return None


class _Locator(caching._CacheLocator):  # noqa: SLF001 -- the documented way to another folder
    """Says where one function's code is kept; freshness is in the folder's name."""

    def __init__(self, function: Callable[..., object]) -> None:
        self._function = function

    def get_cache_path(self) -> str:
        return str(folder())

    def get_source_stamp(self) -> str:
        return digest()

    def get_disambiguator(self) -> str:
        return f"{self._function.__module__}-{self._function.__code__.co_firstlineno}"


class _Kept(caching.CompileResultCacheImpl):
    """One function's kept code."""

    def __init__(self, function: Callable[..., object]) -> None:  # pylint: disable=super-init-not-called
        self._lineno = function.__code__.co_firstlineno
        self._locator = _Locator(function)
        self._filename_base = self.get_filename_base(function.__qualname__, "")  # type: ignore[no-untyped-call]  # the compiler is untyped here


class _Cache(caching._Cache):  # noqa: SLF001 -- as above
    """Loads and keeps compiled code; made lazily, because most compiled functions are only ever part of another."""

    def __init__(self, function: Callable[..., object]) -> None:
        self._function = function
        self._made: Any = None

    def _inner(self) -> Any:
        if self._made is None:
            self._made = _Files(self._function) if folder() is not None else caching.NullCache()  # type: ignore[no-untyped-call]  # the compiler is untyped here
        return self._made

    @property
    def cache_path(self) -> str | None:
        return str(folder())

    def load_overload(self, sig: object, target_context: object) -> object:
        return self._inner().load_overload(sig, target_context)

    def save_overload(self, sig: object, data: object) -> None:
        self._inner().save_overload(sig, data)

    def enable(self) -> None:
        self._inner().enable()

    def disable(self) -> None:
        self._inner().disable()

    def flush(self) -> None:
        self._inner().flush()


class _Files(caching.FunctionCache):
    """The files of one function."""

    _impl_class = _Kept

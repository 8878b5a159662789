"""House rules that no ready-made linter holds: each takes one Python file and returns `path:line: message` lines.

Design sections 4 and 6. The thresholds stand here and nowhere else.
"""

import ast
import re
from collections.abc import Callable, Iterator
from typing import Final

from tests.architecture.tree import PACKAGES, Source

MAX_FILE_LINES: Final = 400
MAX_FUNCTION_LINES: Final = 60
MAX_PARAMETERS: Final = 6

Rule = Callable[[Source], list[str]]
Function = ast.FunctionDef | ast.AsyncFunctionDef

_TO_DO: Final = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")) + r")\b")
_NOQA: Final = re.compile(r"#\s*noqa\b(?P<rest>.*)", re.IGNORECASE)
_NOQA_WITH_REASON: Final = re.compile(r":\s*[A-Z]+[0-9]+(?:\s*,\s*[A-Z]+[0-9]+)*\s+\S.{4,}")
_IGNORE: Final = re.compile(r"#\s*type:\s*ignore\b(?P<rest>.*)")
_IGNORE_WITH_REASON: Final = re.compile(r"\[[a-z-]+(?:,\s*[a-z-]+)*\]\s+#\s*\S.{4,}")
_CLOCK_AND_DICE: Final = re.compile(
    r"^(time\.(time|time_ns|monotonic|monotonic_ns)|(datetime\.)?(datetime|date)\.(now|utcnow|today)"
    r"|(random|secrets|uuid)\.\w+|os\.urandom|hash|id)$"
)


def files_are_small(source: Source) -> list[str]:
    """A file has at most 400 lines."""
    lines = source.text.count("\n")
    return [f"{source.path}:1: {lines} lines, at most {MAX_FILE_LINES}"] if lines > MAX_FILE_LINES else []


def functions_are_small(source: Source) -> list[str]:
    """A function has at most 60 lines, counted from `def`."""
    return [
        source.at(function, f"{function.name} has {length} lines, at most {MAX_FUNCTION_LINES}")
        for function in _functions(source)
        if (length := (function.end_lineno or function.lineno) - function.lineno + 1) > MAX_FUNCTION_LINES
    ]


def functions_take_few_parameters(source: Source) -> list[str]:
    """A function takes at most 6 parameters beside self or cls."""
    return [
        source.at(function, f"{function.name} takes {count} parameters, at most {MAX_PARAMETERS}")
        for function in _functions(source)
        if (count := _parameter_count(function.args)) > MAX_PARAMETERS
    ]


def package_markers_are_empty(source: Source) -> list[str]:
    """An `__init__.py` is empty: names are imported from the file that owns them."""
    empty = not source.path.endswith("__init__.py") or not source.text.strip()
    return [] if empty else [f"{source.path}:1: must be empty"]


def modules_explain_themselves(source: Source) -> list[str]:
    """Every module of the packages has a docstring of at least a sentence; a package marker has none."""
    exempt = source.path.endswith("__init__.py") or not source.within(*PACKAGES)
    docstring = ast.get_docstring(source.tree) or ""
    return [] if exempt or " " in docstring else [f"{source.path}:1: has no module docstring"]


def nothing_is_left_to_do(source: Source) -> list[str]:
    """No mark of unfinished work: what is decided but not built stands in an ADR."""
    return [
        f"{source.path}:{number}: {found.group()} mark"
        for number, line in enumerate(source.text.splitlines(), start=1)
        if (found := _TO_DO.search(line))
    ]


def exceptions_to_the_linters_have_reasons(source: Source) -> list[str]:
    """A `noqa` or `type: ignore` names its rule and is followed by a reason."""
    if source.within("tests/architecture"):
        return []
    problems = []
    for number, line in enumerate(source.text.splitlines(), start=1):
        noqa, ignore = _NOQA.search(line), _IGNORE.search(line)
        if noqa and not _NOQA_WITH_REASON.match(noqa["rest"]):
            problems.append(f"{source.path}:{number}: noqa without rule or reason")
        if ignore and not _IGNORE_WITH_REASON.match(ignore["rest"]):
            problems.append(f"{source.path}:{number}: type: ignore without code or reason")
    return problems


def errors_become_statuses_in_one_file(source: Source) -> list[str]:
    """Only api/problems.py turns an error into an HTTP status. Success statuses and reading an answer's are free."""
    if not source.within("service", "workers") or source.path == "service/api/problems.py":
        return []
    return [
        source.at(node, "an error's HTTP status; raise an error, api/problems.py maps it") for node in _statuses(source)
    ]


def celery_retries_in_one_file(source: Source) -> list[str]:
    """Only workers/retry.py asks Celery to run something again."""
    if not source.within("service", "workers") or source.path == "workers/retry.py":
        return []
    options = {"autoretry_for", "max_retries", "retry_backoff", "default_retry_delay"}
    found = [
        node
        for node in ast.walk(source.tree)
        if (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "retry")
        or (isinstance(node, ast.keyword) and node.arg in options)
    ]
    return [source.at(node, "a Celery retry; workers/retry.py owns them") for node in found]


def exit_codes_at_the_edge(source: Source) -> list[str]:
    """Only a program ends its process: cli.py, commands/, __main__.py, drills, and a module that is itself run."""
    at_edge = source.path.endswith(("/cli.py", "/__main__.py")) or source.within("service/commands", "drills")
    at_edge = at_edge or '\nif __name__ == "__main__":\n' in source.text
    if at_edge or not source.within(*PACKAGES):
        return []
    ends = {"sys.exit", "os._exit", "typer.Exit", "SystemExit", "exit", "quit"}
    return [
        source.at(call, "ends the process; raise an error") for call in _calls(source) if _dotted(call.func) in ends
    ]


def libraries_read_no_environment(source: Source) -> list[str]:
    """rules and hsm are given what they need; only their command lines and the PKCS#11 module loader see os.environ."""
    allowed = source.path.endswith("/cli.py") or source.path == "hsm/pkcs11/module.py"
    if allowed or not source.within("rules", "hsm"):
        return []
    names = {"os.environ", "os.getenv"}
    return [
        source.at(node, "reads the environment; take a parameter or a callback")
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Attribute) and _dotted(node) in names
    ]


def the_engine_reads_no_clock_and_throws_no_dice(source: Source) -> list[str]:
    """Replay must give identical bytes: rules (but its command line) calls no clock, no random source, no hash()."""
    if not source.within("rules") or source.path == "rules/cli.py":
        return []
    return [
        source.at(call, f"{_dotted(call.func)}() differs from run to run; replay must not")
        for call in _calls(source)
        if _CLOCK_AND_DICE.match(_dotted(call.func))
    ]


RULES: Final[tuple[Rule, ...]] = (
    files_are_small,
    functions_are_small,
    functions_take_few_parameters,
    package_markers_are_empty,
    modules_explain_themselves,
    nothing_is_left_to_do,
    exceptions_to_the_linters_have_reasons,
    errors_become_statuses_in_one_file,
    celery_retries_in_one_file,
    exit_codes_at_the_edge,
    libraries_read_no_environment,
    the_engine_reads_no_clock_and_throws_no_dice,
)


def _functions(source: Source) -> Iterator[Function]:
    return (node for node in ast.walk(source.tree) if isinstance(node, Function))


def _calls(source: Source) -> Iterator[ast.Call]:
    return (node for node in ast.walk(source.tree) if isinstance(node, ast.Call))


def _parameter_count(arguments: ast.arguments) -> int:
    positional = [*arguments.posonlyargs, *arguments.args]
    bound = 1 if positional and positional[0].arg in {"self", "cls"} else 0
    starred = (arguments.vararg is not None) + (arguments.kwarg is not None)
    return len(positional) - bound + len(arguments.kwonlyargs) + starred


def _dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return ""


def _statuses(source: Source) -> Iterator[ast.AST]:
    for node in ast.walk(source.tree):
        imported = {alias.name for alias in node.names} if isinstance(node, ast.ImportFrom) else set()
        named = isinstance(node, ast.Attribute) and re.match(r"HTTP_[45]\d\d_", node.attr)
        passed = (
            isinstance(node, ast.keyword) and node.arg in {"status_code", "status"} and _is_error_status(node.value)
        )
        if imported & {"HTTPException", "HTTPStatus"} or named or passed:
            yield node
        elif isinstance(node, ast.Dict):
            yield from (
                value
                for key, value in zip(node.keys, node.values, strict=True)
                if isinstance(key, ast.Constant) and key.value == "status" and _is_error_status(value)
            )


def _is_error_status(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, int) and 400 <= node.value < 600

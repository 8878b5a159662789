"""A small interface around CEL (the Common Expression Language, cel-spec) for detector expressions.

Rules enforced here:
- Every name an expression may use is declared with its type; an unknown name, a wrong type or an answer that is not
  yes or no is refused when it is compiled, never at run time. Macros are off: there is nothing to loop over.
- The library hands evaluation errors back as values whose content is a non-empty string, which Python would take for
  true. Only a value of type BOOL is an answer here; anything else is an :class:`EvaluationError`.
- A value that is not known is NaN: every comparison with it is false, ``x == x`` tells whether ``x`` is known.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

from cel_expr_python import cel

from rules.arrays import F8
from rules.errors import EvaluationError, ExpressionError
from rules.features.names import INDEX

MAX_EXPRESSION: Final = 4096
"""Longest accepted expression in characters."""

TEXTS: Final = ("kind", "destination_kind")
"""Names of text variables; empty when not told."""

SURPRISE: Final = "_surprise"
NUMBERS: Final[dict[str, int]] = INDEX
"""Names of values, by feature index. ``NAME_surprise`` is declared beside each."""

_IDENTIFIER: Final = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'|\b[A-Za-z_][A-Za-z_0-9]*\b')


@lru_cache(maxsize=1)
def _environment() -> cel.Env:
    numbers = {f"{name}{suffix}": cel.Type.DOUBLE for name in NUMBERS for suffix in ("", SURPRISE)}
    texts = dict.fromkeys(TEXTS, cel.Type.STRING)
    return cel.NewEnv(config=cel.NewEnvConfigFromYaml("stdlib:\n  disable_macros: true"), variables=numbers | texts)


class Expression:
    """A compiled yes-or-no question. ``names`` are the variables it reads, in order of name."""

    def __init__(self, source: str) -> None:
        if len(source) > MAX_EXPRESSION:
            raise ExpressionError(f"expression has {len(source)} characters, at most {MAX_EXPRESSION} are allowed")
        try:
            compiled = _environment().compile(source)
        except Exception as error:
            raise ExpressionError(_plain(str(error))) from error
        if compiled.return_type() != cel.Type.BOOL:
            raise ExpressionError(f"expression must answer yes or no, it gives {compiled.return_type().name()}")
        self.source = source
        self.names = _names(source)
        self._compiled = compiled
        self._numbers = tuple(
            (name, NUMBERS[name.removesuffix(SURPRISE)], name not in NUMBERS)
            for name in self.names
            if name not in TEXTS
        )

    def holds(self, values: Sequence[float] | F8, surprise: Sequence[float] | F8, texts: Mapping[str, str]) -> bool:
        """The answer for one measured activity. Raises :class:`EvaluationError` when there is none."""
        data: dict[str, object] = {
            name: float(surprise[index] if surprising else values[index]) for name, index, surprising in self._numbers
        }
        for name in TEXTS:
            if name in self.names:
                data[name] = texts[name]
        try:
            answer = self._compiled.eval(data=data)
        except Exception as error:
            raise EvaluationError(_plain(str(error))) from error
        return truth(answer)


def truth(answer: cel.Value) -> bool:
    """The yes or no of a value. Raises :class:`EvaluationError` for every other type, errors included."""
    if answer.type() != cel.Type.BOOL:
        raise EvaluationError(f"evaluation gave {answer.type().name()} instead of yes or no")
    return answer.value() is True


def _names(source: str) -> tuple[str, ...]:
    found = set(_IDENTIFIER.findall(source))
    known = {*NUMBERS, *(name + SURPRISE for name in NUMBERS), *TEXTS}
    return tuple(sorted(found & known))


def _plain(message: str) -> str:
    return " ".join(message.split())[:500]

"""Errors of the behavioural engine.

Rules: every class ends in ``Error``, has a stable ``code`` that callers may match on, and says by ``retry`` whether
trying again can help. Messages name the file or field at fault and what to do about it; they never contain state bytes.
"""

from typing import ClassVar, Literal

Retry = Literal["never", "later", "verify_first"]


class RulesError(Exception):
    """Base of everything this folder raises on purpose."""

    code: ClassVar[str] = "rules"
    retry: ClassVar[Retry] = "never"


class ObservationError(RulesError, ValueError):
    """An observation is out of its documented range. A ``ValueError`` so that decoders name the field path."""

    code: ClassVar[str] = "rules.observation_invalid"


class DetectorFileError(RulesError):
    """A detector file cannot be used; the message starts with the file and the field."""

    code: ClassVar[str] = "rules.detector_file_invalid"

    def __init__(self, file: str, field: str, problem: str) -> None:
        self.file = file
        self.field = field
        self.problem = problem
        super().__init__(f"{file}: {field}: {problem}")


class ExpressionError(RulesError):
    """An expression does not compile: unknown name, wrong type, too long, or not a yes-or-no question."""

    code: ClassVar[str] = "rules.expression_invalid"


class EvaluationError(RulesError):
    """An expression compiled but gave no yes or no for one set of values. Callers fail closed."""

    code: ClassVar[str] = "rules.evaluation_failed"


class ListFileError(RulesError):
    """A list file cannot be used; the message starts with the file and the line."""

    code: ClassVar[str] = "rules.list_file_invalid"


class StateFormatError(RulesError):
    """Stored baseline bytes have another size, kind or version than this engine writes."""

    code: ClassVar[str] = "rules.state_format"


class CapacityError(RulesError):
    """More accounts than the settings allow. Nothing was scored: raise ``max_accounts`` or remove accounts."""

    code: ClassVar[str] = "rules.capacity"


class LearningRecordError(RulesError):
    """A row of the learning sequence cannot be applied: unknown kind, bad payload, or out of order."""

    code: ClassVar[str] = "rules.learning_record_invalid"

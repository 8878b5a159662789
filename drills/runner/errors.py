"""What ends a drill before its outcome is known. The message says what to do."""

from typing import ClassVar, Literal


class DrillError(Exception):
    """A drill that cannot go on."""

    code: ClassVar[str] = "drill_failed"
    retry: ClassVar[Literal["never"]] = "never"


class ApiError(DrillError):
    """A call that the other side refused or did not answer. `status` 0: no answer."""

    code: ClassVar[str] = "drill_call_failed"

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status

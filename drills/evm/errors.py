"""What goes wrong with a drill's own chain. The message says what to do."""

from typing import ClassVar, Literal


class EvmError(Exception):
    """The chain could not be started, or did not answer as a chain does."""

    code: ClassVar[str] = "drill_chain_failed"
    retry: ClassVar[Literal["never"]] = "never"


class PackageError(EvmError):
    """A program or contract that a drill needs is not installed and could not be fetched."""

    code: ClassVar[str] = "drill_package_missing"


class RevertedError(EvmError):
    """The chain would revert a call. `data` is what it said: an ABI-encoded error, possibly nothing."""

    code: ClassVar[str] = "drill_call_reverted"

    def __init__(self, message: str, data: bytes = b"") -> None:
        super().__init__(message)
        self.data = data

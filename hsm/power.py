"""The five powers and their tokens (design D7): one token per power, each opened by one kind of process.

Rules held here: pure names only; which keys a power's token holds stands in `hsm.pkcs11.layout`.
"""

from enum import StrEnum
from typing import Final


class Power(StrEnum):
    """The five powers, each with its own token."""

    GATE = "gate"
    AUTHORITY = "authority"
    PLATFORM = "platform"
    VAULT = "vault"
    GUARDIAN = "guardian"

    @property
    def token_label(self) -> str:
        """The token's label, for example `portcullis-vault`."""
        return f"portcullis-{self.value}"


GUARDIAN_LINE: Final = "guardian address: "
"""Starts the line of `hsm init` that tells where the guardian's coin goes; `portcullis up` reads it."""

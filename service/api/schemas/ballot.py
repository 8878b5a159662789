"""What a person's client sealed for the authority, as this process carries it.

Rules: this process cannot open it and looks at nothing but its form; a field beside it, such as a code in clear, is refused.
"""

from pydantic import Field

from service.api.schemas.common import Body
from service.domain.ballot import MAX_SEALED_TEXT


class SealedIn(Body):
    """Sealed for the authority by the person's own client: docs/concepts/approvals.md says how."""

    sealed: str = Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=MAX_SEALED_TEXT, examples=["UENTMQGAq83vEjRW"])

"""Letters to issuers, as they are shown."""

from datetime import datetime

from pydantic import Field

from service.api.schemas.common import Shown, shows
from service.domain.plan import StepState


class LetterShown(Shown):
    """One letter of an incident: word for word, and its signature once it went out."""

    model_config = shows(
        {
            "step": "stp_01JD2Z5Q8Z6W9X4V7T3S1R0Q8S",
            "state": "done",
            "asset": "eip155:1/erc20:0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48",
            "issuer": "Example Coin Ltd",
            "recipient": "freeze@example.org",
            "channel": "mail",
            "subject": "Request to freeze stolen tokens, case inc_01JD2Z5Q8Z6W9X4V7T3S1R0Q8P",
            "text": "To: Example Coin Ltd\n",
            "approval": "apr_01JD2Z5Q8Z6W9X4V7T3S1R0Q8T",
            "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "signature": "MEUCIQDz",
            "sums": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08  letter.txt\n",
            "sums_signature": "MEUCIQDz",
            "public_key": "-----BEGIN PUBLIC KEY-----\n",
            "message_id": "<0123@portcullis>",
            "finished_at": "2026-01-05T09:40:00Z",
        }
    )

    step: str
    state: StepState
    asset: str
    issuer: str
    recipient: str
    channel: str
    subject: str
    text: str
    approval: str | None
    sha256: str | None = Field(description="Of the text's UTF-8 bytes; null until it went out, as what follows.")
    signature: str | None = Field(description="RSA PKCS #1 v1.5 with SHA-256 over the text's UTF-8 bytes, in base64.")
    sums: str | None = Field(description="SHA-256 of text, page and PDF; null for letters from before the PDF.")
    sums_signature: str | None = Field(description="As `signature`, over the UTF-8 bytes of `sums`.")
    public_key: str | None
    message_id: str | None
    finished_at: datetime | None


class Letters(Shown):
    """The letters of an incident, oldest first."""

    items: list[LetterShown]

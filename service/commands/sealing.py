"""What a person's own client seals before it leaves his machine, and the public keys of the authority that it goes by.

Rules: a key comes from a file that was named, or from the installation on this machine, and never from the API: whoever
could hand out the key could read what is sealed with it. Without a key nothing is asked for and nothing is sent.
"""

import os
from pathlib import Path
from typing import Final

from hsm.errors import HsmInputError, SealError
from hsm.sealing import open_reply, seal
from service.domain.ballot import (
    ENROLMENT_ANSWER_TAG,
    ENROLMENT_TAG,
    FIRST_CODE_TAG,
    FirstCode,
    associated_data,
    filled,
    from_text,
    to_text,
)
from service.domain.errors import ApprovalError, ConfigurationError

VOTES_VARIABLE: Final = "PORTCULLIS_AUTHORITY_KEY"
VOTES_FILE: Final = "authority-votes.pem"
BALLOTS_VARIABLE: Final = "PORTCULLIS_BALLOT_KEY"
BALLOTS_FILE: Final = "authority-ballots.pem"


def ballot_key(named: Path | None) -> bytes:
    """Return the key to seal for: of the option, the environment, or the installation here. Raises ConfigurationError."""
    found = public_key(named, BALLOTS_VARIABLE, BALLOTS_FILE)
    if found is None:
        raise ConfigurationError(
            f"no ballot key: codes are sealed for the authority before they leave this machine. Copy public/{BALLOTS_FILE}"
            " from the installation's folder over a channel you trust, never from the API, and name it with --ballot-key"
            f" or {BALLOTS_VARIABLE}",
            field="ballot_key",
        )
    return found


def public_key(named: Path | None, variable: str, file: str) -> bytes | None:
    """Return a public key of the authority; None when nothing names one and no installation is here.

    Raises ConfigurationError when the file that was named cannot be read.
    """
    chosen = named or (Path(os.environ[variable]) if os.environ.get(variable) else None)
    if chosen is None:
        here = Path(os.environ.get("PORTCULLIS_HOME", ".portcullis")) / "public" / file
        if not here.exists():
            return None
        chosen = here
    try:
        return chosen.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"{chosen} cannot be read ({error.strerror}): give the installation's {file}"
        ) from error


def sealed_text(key: bytes, plain: bytes, bound_to: bytes) -> str:
    """Return what travels. Raises ConfigurationError when the key is no ballot key."""
    try:
        return to_text(seal(key, plain, bound_to))
    except HsmInputError as error:
        raise ConfigurationError(
            f"the ballot key cannot be used: {error}; give {BALLOTS_FILE}", field="ballot_key"
        ) from error


def sealed_question(key: bytes, person: str, reply_key: bytes) -> str:
    """Return a person's question for his enrolment code, to be answered under `reply_key` (32 bytes, fresh)."""
    return sealed_text(key, reply_key, associated_data(ENROLMENT_TAG, person))


def opened_answer(reply_key: bytes, person: str, answer: str) -> bytes:
    """Return what the authority answered. Raises ApprovalError when somebody else did."""
    try:
        return open_reply(reply_key, from_text(answer), associated_data(ENROLMENT_ANSWER_TAG, person))
    except SealError as error:
        raise ApprovalError(
            "the answer is not the authority's answer to you: somebody on the way may now hold your enrolment code. Raise"
            " the alarm, and have this factor revoked"
        ) from error


def sealed_first_code(key: bytes, person: str, code: str) -> str:
    """Return the first code of a person's new authenticator, sealed."""
    return sealed_text(key, filled(FirstCode(code=code)), associated_data(FIRST_CODE_TAG, person))

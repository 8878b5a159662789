"""The witnesses of ceremonies: factors of their own in the authority's token, their last code and their wrong tries.

Rules held here:
- A ceremony's factor (`totp/ceremony.NAME`) is never a voter's: a code that is typed at a ceremony's terminal can be
  spent on no vote, and a voter's code opens no ceremony.
- Last time-code and wrong tries are a data object of the token, so they hold whatever happens to the host's files. A try
  is counted before the code is looked at; five wrong ones in a row lock the witness until he is enrolled anew.
- A time-code counts once (RFC 6238 section 5.2), also for a process that was killed while it looked.
- A factor becomes known only when its first code was right; until then the name can be enrolled again.
"""

import json
from typing import Final, Protocol

import PyKCS11 as P

from hsm.errors import CeremonyError, TokenLayoutError
from hsm.pkcs11.session import Token, TokenSession
from hsm.totp import matching_timecode

MAX_TRIES: Final = 5
_FACTOR: Final = "ceremony."
_LABEL: Final = "ceremony-witness:"


class Seeds(Protocol):
    """Where the seeds of factors are."""

    def hmac_sha1(self, object_id: str, message: bytes) -> bytes:
        """Return the HMAC of `message` under a seed."""
        ...

    def store_totp_seed(self, object_id: str, seed: bytes) -> None:
        """Put a seed into the token."""
        ...

    def delete_seed(self, object_id: str) -> None:
        """Remove a seed."""
        ...


class CeremonyWitnesses:
    """The witnesses that one authority token knows."""

    def __init__(self, token: Token, seeds: Seeds) -> None:
        self._token = token
        self._seeds = seeds

    def is_enrolled(self, name: str) -> bool:
        """Whether a witness's factor was confirmed."""
        with self._token.session() as session:
            return _read(session, name) is not None

    def begin(self, name: str, seed: bytes) -> None:
        """Put the seed of a new factor into the token, unconfirmed. Raises CeremonyError for an enrolled witness."""
        if self.is_enrolled(name):
            raise CeremonyError(f"{name} is enrolled already: remove the witness first", field="name")
        self._seeds.delete_seed(_FACTOR + name)
        self._seeds.store_totp_seed(_FACTOR + name, seed)

    def confirm(self, name: str, code: str, at_s: float) -> None:
        """Make a factor known by its first code, which is used up. Raises CeremonyError for a wrong one."""
        timecode = matching_timecode(self._seeds, _FACTOR + name, code.strip(), at_s)
        if timecode is None:
            raise CeremonyError(
                "the code is wrong: check the phone's clock, then enrol the witness again", field="code"
            )
        with self._token.exclusive() as session:
            _write(session, name, timecode, 0)

    def remove(self, name: str) -> None:
        """Forget a witness. Repeating it changes nothing."""
        with self._token.exclusive() as session:
            for handle in session.find(_LABEL + name, P.CKO_DATA):
                session.destroy(handle)
        self._seeds.delete_seed(_FACTOR + name)

    def use(self, name: str, code: str, at_s: float) -> int:
        """Use up a witness's code; return its time-code.

        Raises CeremonyError when he is not enrolled or locked, or the code is wrong or was used.
        """
        with self._token.exclusive() as session:
            known = _read(session, name)
            if known is None:
                raise CeremonyError(f"{name} is not enrolled as a witness", field="name")
            last, tries = known
            if tries >= MAX_TRIES:
                raise CeremonyError(
                    f"{name} gave {MAX_TRIES} wrong codes: remove and enrol the witness again", field="name"
                )
            _write(session, name, last, tries + 1)
        timecode = matching_timecode(self._seeds, _FACTOR + name, code.strip(), at_s)
        if timecode is None:
            raise CeremonyError(f"the code of {name} is wrong; {MAX_TRIES - tries - 1} tries are left", field="code")
        with self._token.exclusive() as session:
            last, _ = _read(session, name) or (timecode, 0)
            if timecode <= last:
                raise CeremonyError(f"the code of {name} was used before: wait for the next one", field="code")
            _write(session, name, timecode, 0)
        return timecode


def _read(session: TokenSession, name: str) -> tuple[int, int] | None:
    """Return (last time-code, wrong tries in a row). Raises TokenLayoutError when it cannot be read."""
    found = session.find(_LABEL + name, P.CKO_DATA)
    if not found:
        return None
    try:
        said = [json.loads(session.read(handle, P.CKA_VALUE) or b"") for handle in found]
        # A write that was killed leaves two: the later state of either counts.
        return max(int(one["last"]) for one in said), max(int(one["tries"]) for one in said)
    except (ValueError, KeyError, TypeError):
        raise TokenLayoutError(
            f"what the token knows of witness {name} cannot be read: enrol the witness anew"
        ) from None


def _write(session: TokenSession, name: str, last: int, tries: int) -> None:
    before = session.find(_LABEL + name, P.CKO_DATA)
    session.create(
        [
            (P.CKA_CLASS, P.CKO_DATA),
            (P.CKA_TOKEN, True),
            (P.CKA_PRIVATE, True),
            (P.CKA_LABEL, _LABEL + name),
            (P.CKA_VALUE, json.dumps({"last": last, "tries": tries}).encode()),
        ]
    )
    for handle in before:
        session.destroy(handle)

"""Trying a code: what was charged for it is given back unless the code was wrong.

Rules: the charge is committed before the token is asked, so a crash keeps it; a token that gives no answer gives the try
back, because nobody looked at the code; so does a right code, at once and not with what it was given for, because what
fails after it is our fault and not the person's.
"""

from hsm.errors import HsmError
from hsm.totp import matching_timecode
from service.authority.office import Office
from service.store.voting import VotingRecords


def timecode_of(office: Office, factor_id: str, purpose: str, code: str) -> int | None:
    """Return the time-code whose code this is, None when it is none's. Raises HsmError, with the try given back."""
    try:
        return matching_timecode(office.token, factor_id, code.strip(), office.clock.now().timestamp())
    except HsmError:
        give_back(office, factor_id, purpose)
        raise


def give_back(office: Office, factor_id: str, purpose: str) -> None:
    """Give back the last try that was charged for `purpose`."""
    with office.db.begin() as uow:
        VotingRecords(uow.connection, uow.now).refund(factor_id, purpose)

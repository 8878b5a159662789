"""Whether a standing mandate authorises: an approval given in advance, checked when it is used (design D4, D7).

Rules: the row only finds the approval; scope, limits and duration come from the document that people voted on. Its
execute-by bounds when the mandate could be granted, not how long it lasts: it lasts `lasts_s` from the latest moment it
could have been granted. A policy that changed since ends it.
"""

from datetime import datetime, timedelta

from service.domain.approval import parse
from service.domain.attention import StandingMandate
from service.domain.authorisation import Evidence, check_document
from service.domain.changes import NewMandate, change_of
from service.domain.errors import ApprovalError, InputError


def require_mandate(mandate: StandingMandate, evidence: Evidence, *, public_key_pem: bytes, now: datetime) -> None:
    """Raise ApprovalError unless people granted exactly this mandate and it has not run out."""
    try:
        granted_by = parse(evidence.document).execute_by
    except InputError as error:
        raise ApprovalError(f"the mandate's document cannot be read: {error}") from error
    document = check_document(evidence, public_key_pem=public_key_pem, now=min(now, granted_by))
    for item in document.what:
        if item.action != "mandate.grant":
            continue
        said = change_of(item.action, item.params)
        if isinstance(said, NewMandate) and _is_this(said, mandate):
            if now > granted_by + timedelta(seconds=said.lasts_s):
                raise ApprovalError(f"mandate {mandate.id} has run out")
            return
    raise ApprovalError(f"the approved document {document.id} does not grant mandate {mandate.id} as its row says")


def _is_this(said: NewMandate, mandate: StandingMandate) -> bool:
    limits = {name: tuple(values) for name, values in said.limits.items()}
    return (said.id, said.scope, limits) == (mandate.id, mandate.scope, dict(mandate.limits))

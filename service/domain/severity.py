"""How bad an incident is, from how sure the engine is and what is at stake.

A hold-level finding is at least high. A million dollars at risk makes a hold critical, a hundred thousand makes an
alert high. An alert with little at stake is low: seen, joined, but nobody is woken. Where nothing is known of what is at
stake, an alert is medium: "cannot tell" is not "little". Where a list names the destination, what else the account holds is
not at stake: a hold is high and an alert medium.
"""

from decimal import Decimal
from typing import Final

from service.domain.incident import IncidentKind, Severity

CRITICAL_USD: Final = Decimal(1_000_000)
HIGH_USD: Final = Decimal(100_000)
LOW_USD: Final = Decimal(1_000)


def severity_of(kind: IncidentKind, decision: str, at_risk_usd: Decimal | None) -> Severity:
    """Return the severity for an alert of this kind and decision (`alert` or `hold`) with so much at risk.

    None means that nothing is known of what is at risk.
    """
    if kind is IncidentKind.LISTED_DESTINATION:
        return Severity.HIGH if decision == "hold" else Severity.MEDIUM
    if at_risk_usd is None:
        hold = Severity.CRITICAL if kind is IncidentKind.SIGNING_TAMPERING else Severity.HIGH
        return hold if decision == "hold" else Severity.MEDIUM
    if decision == "hold":
        sure = at_risk_usd >= CRITICAL_USD or kind is IncidentKind.SIGNING_TAMPERING
        return Severity.CRITICAL if sure else Severity.HIGH
    if at_risk_usd >= HIGH_USD and kind is not IncidentKind.DRAIN:
        return Severity.HIGH
    return Severity.LOW if at_risk_usd < LOW_USD else Severity.MEDIUM

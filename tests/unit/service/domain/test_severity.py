"""How bad an incident is: what is unknown is never taken for little."""

from decimal import Decimal

import pytest

from service.domain.incident import IncidentKind, Severity
from service.domain.severity import severity_of

DRAIN, TAMPERING, INSIDER = IncidentKind.DRAIN, IncidentKind.SIGNING_TAMPERING, IncidentKind.INSIDER_POLICY_CHANGE
LISTED = IncidentKind.LISTED_DESTINATION


@pytest.mark.parametrize(
    ("kind", "decision", "usd", "severity"),
    [
        (DRAIN, "hold", 1_000_000, Severity.CRITICAL),
        (DRAIN, "hold", 999_999, Severity.HIGH),
        (DRAIN, "hold", 0, Severity.HIGH),
        (DRAIN, "hold", None, Severity.HIGH),
        (TAMPERING, "hold", 0, Severity.CRITICAL),
        (TAMPERING, "hold", None, Severity.CRITICAL),
        (DRAIN, "alert", 100_000, Severity.MEDIUM),
        (INSIDER, "alert", 100_000, Severity.HIGH),
        (DRAIN, "alert", 1_000, Severity.MEDIUM),
        (DRAIN, "alert", 999, Severity.LOW),
        (DRAIN, "alert", None, Severity.MEDIUM),
        (LISTED, "hold", 900_000_000, Severity.HIGH),
        (LISTED, "hold", None, Severity.HIGH),
        (LISTED, "alert", 900_000_000, Severity.MEDIUM),
        (LISTED, "alert", 1, Severity.MEDIUM),
    ],
)
def test_severity(kind: IncidentKind, decision: str, usd: int | None, severity: Severity) -> None:
    assert severity_of(kind, decision, None if usd is None else Decimal(usd)) is severity

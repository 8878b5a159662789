"""What is about to be signed: delegatecalls, unlimited approvals, owner changes, screens that show something else.

The first three are weighed against how often this account signs them; a display that differs from the decoded
transaction has no innocent rate (Bybit 2025, WazirX 2024) and weighs the most from the first day.
"""

from rules.baseline.layout import SIGNING_FACTS, SIGNINGS, View
from rules.baseline.statistics import CAP, move_rate, rate_surprisal
from rules.features.declared import declare, duration, yes_no
from rules.features.frame import DAY_S, Frame
from rules.observation import Observation

_RATE = 0.01
_YOUNG_S = 7 * DAY_S
_YOUNG_SURPRISE = 2.0

_FACTS = tuple(
    (
        declare(
            name,
            unit="yes or no",
            reads=f"whether the payload {what}, against the account's signing requests",
            null_when="not told",
            show=yes_no,
        ),
        name,
    )
    for name, what in (
        ("delegatecall", "is a delegatecall"),
        ("unlimited_approval", "approves an unlimited allowance"),
        ("governance_call", "changes owners, threshold or implementation"),
    )
)
MISMATCH = declare(
    "display_mismatch",
    unit="yes or no",
    reads="whether the decoded raw transaction differs from what is shown",
    null_when="not told",
    show=yes_no,
)
CONTRACT_AGE = declare(
    "contract_age_s",
    unit="s",
    reads="time since the called contract was deployed; scored while under 7 days",
    null_when="not told",
    show=duration,
)


def measure(frame: Frame) -> None:
    """Weigh the facts that the custody platform told.

    >>> from rules.trial import trial
    >>> trial("signing.requested", delegatecall=True)["delegatecall"]
    1.0
    """
    observation, values, account = frame.observation, frame.values, frame.account
    for offset, (feature, name) in enumerate(_FACTS):
        fact = _told(observation, name)
        if fact is None:
            continue
        values[feature] = 1.0 if fact else 0.0
        frame.usual[feature] = account[SIGNING_FACTS + offset]
        if fact:
            frame.surprise[feature] = rate_surprisal(account[SIGNINGS], account[SIGNING_FACTS + offset], _RATE)
    if observation.display_mismatch is not None:
        values[MISMATCH] = 1.0 if observation.display_mismatch else 0.0
        frame.usual[MISMATCH] = 0.0
        frame.surprise[MISMATCH] = CAP if observation.display_mismatch else 0.0
    if observation.contract_age_s is not None:
        values[CONTRACT_AGE] = observation.contract_age_s
        frame.usual[CONTRACT_AGE] = _YOUNG_S
        frame.surprise[CONTRACT_AGE] = _YOUNG_SURPRISE if observation.contract_age_s < _YOUNG_S else 0.0


def _told(observation: Observation, name: str) -> bool | None:
    if name == "delegatecall":
        return observation.delegatecall
    return observation.unlimited_approval if name == "unlimited_approval" else observation.governance_call


def learn(frame: Frame, rate: float) -> None:
    """Learn how often this account signs each of the facts."""
    if not frame.account_key:
        return
    account: View = frame.account
    account[SIGNINGS] += 1.0
    rate = max(rate, 1.0 / account[SIGNINGS])
    for offset, (_, name) in enumerate(_FACTS):
        fact = _told(frame.observation, name)
        if fact is not None:
            move_rate(account, SIGNING_FACTS + offset, 1.0 if fact else 0.0, rate)

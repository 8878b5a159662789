"""What is about to be signed: delegatecalls, unlimited approvals, owner changes, screens that show something else.

The first three are weighed against how often this account signs them; a display that differs from the decoded
transaction has no innocent rate (Bybit 2025, WazirX 2024) and weighs the most from the first day.
"""

from typing import Final

from rules.baseline.layout import SIGNING_FACTS, SIGNINGS
from rules.baseline.statistics import CAP, move_rate, rate_surprisal
from rules.compiled import compiled
from rules.event import E_ACCOUNT, E_CONTRACT_AGE_S, E_DELEGATECALL, E_GOVERNANCE_CALL, E_MISMATCH, E_UNLIMITED
from rules.features.declared import FACT, Group, declare, duration
from rules.features.frame import DAY_S, Frame
from rules.features.weighing import tell_fact

_RATE: Final = 0.01
_YOUNG_S: Final = 7 * DAY_S
_YOUNG_SURPRISE: Final = 2.0
_STRONG: Final = 0.2

_FACTS: Final = tuple(
    declare(
        name,
        unit="yes or no",
        reads=f"whether the payload {what}, against the account's signing requests",
        null_when="not told",
        group=Group("signing", _STRONG),
        show=FACT,
    )
    for name, what in (
        ("delegatecall", "is a delegatecall"),
        ("unlimited_approval", "approves an unlimited allowance"),
        ("governance_call", "changes owners, threshold or implementation, or pays a gas refund"),
    )
)
_WORDS: Final = (E_DELEGATECALL, E_UNLIMITED, E_GOVERNANCE_CALL)
MISMATCH = declare(
    "display_mismatch",
    unit="yes or no",
    reads="whether the decoded raw transaction differs from what is shown",
    null_when="not told",
    group=Group(weight=1.0),
    show=FACT,
)
CONTRACT_AGE = declare(
    "contract_age_s",
    unit="s",
    reads="time since the called contract was deployed; scored while under 7 days",
    null_when="not told",
    group=Group(weight=_STRONG),
    show=duration,
)


@compiled
def measure(f: Frame) -> None:
    """Weigh the facts that the custody platform told.

    >>> from rules.trial import trial
    >>> trial("signing.requested", delegatecall=True)["delegatecall"]
    1.0
    """
    for at in range(3):
        told = f.event[_WORDS[at]]
        if told == told:  # noqa: PLR0124 -- false only for NaN
            rate = f.account[SIGNING_FACTS + at]
            tell_fact(f, _FACTS[at], told, rate)
            if told == 1.0:
                f.surprise[_FACTS[at]] = rate_surprisal(f.account[SIGNINGS], rate, _RATE)
    told = f.event[E_MISMATCH]
    if told == told:  # noqa: PLR0124 -- as above
        tell_fact(f, MISMATCH, told, 0.0)
        f.surprise[MISMATCH] = CAP * told
    age_s = f.event[E_CONTRACT_AGE_S]
    if age_s == age_s:  # noqa: PLR0124 -- as above
        f.values[CONTRACT_AGE] = age_s
        f.low[CONTRACT_AGE] = _YOUNG_S
        f.high[CONTRACT_AGE] = max(_YOUNG_S, age_s)
        f.surprise[CONTRACT_AGE] = _YOUNG_SURPRISE if age_s < _YOUNG_S else 0.0


@compiled
def learn(f: Frame, rate: float) -> None:
    """Learn how often this account signs each of the facts.

    What was not told counts as not so: nobody gets used to a fact by calls that nobody can read.
    """
    if f.event[E_ACCOUNT] == 0.0:
        return
    f.account[SIGNINGS] += 1.0
    rate = max(rate, 1.0 / f.account[SIGNINGS])
    for at in range(3):
        told = f.event[_WORDS[at]]
        move_rate(f.account, SIGNING_FACTS + at, 1.0 if told == 1.0 else 0.0, rate)

"""How much is known: learned events of the account and of the actor. Rules read them; the score does not."""

from rules.baseline.layout import LEARNED
from rules.features.declared import UNSCORED, declare, plain
from rules.features.frame import Frame

ACCOUNT_LEARNED = declare(
    "account_learned",
    unit="events",
    reads="events learned of the account",
    null_when="no account",
    group=UNSCORED,
    show=plain,
)
ACTOR_LEARNED = declare(
    "actor_learned",
    unit="events",
    reads="events learned of the actor",
    null_when="no actor",
    group=UNSCORED,
    show=plain,
)


def measure(frame: Frame) -> None:
    """Read both counts.

    >>> from rules.trial import trial
    >>> trial("withdrawal.requested")["account_learned"]
    0.0
    """
    if frame.account_key:
        frame.values[ACCOUNT_LEARNED] = frame.account[LEARNED]
    if frame.actor_key:
        frame.values[ACTOR_LEARNED] = frame.actor[LEARNED]

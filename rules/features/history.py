"""How much is known: learned events of the account and of the actor. Rules read them; the score does not."""

from rules.baseline.layout import LEARNED
from rules.compiled import compiled
from rules.event import E_ACCOUNT, E_ACTOR
from rules.features.declared import UNSCORED, declare
from rules.features.frame import Frame

ACCOUNT_LEARNED = declare(
    "account_learned",
    unit="events",
    reads="events learned of the account",
    null_when="no account",
    group=UNSCORED,
)
ACTOR_LEARNED = declare(
    "actor_learned",
    unit="events",
    reads="events learned of the actor",
    null_when="no actor",
    group=UNSCORED,
)


@compiled
def measure(f: Frame) -> None:
    """Read both counts.

    >>> from rules.trial import trial
    >>> trial("withdrawal.requested")["account_learned"]
    0.0
    """
    if f.event[E_ACCOUNT] != 0.0:
        f.values[ACCOUNT_LEARNED] = f.account[LEARNED]
    if f.event[E_ACTOR] != 0.0:
        f.values[ACTOR_LEARNED] = f.actor[LEARNED]

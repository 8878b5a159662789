"""What verdicts say about the entities: the chance that this payment is bad because of whom it involves.

Rules: values are set where verdicts are kept (``baseline.reputation``) and shown here; without any verdict on an entity
there is none. They enter the score as hazards of their own, not as surprisals.
"""

from typing import Final

from rules.features.declared import UNSCORED, declare, percent

_OF: Final = ("destination", "device", "network", "actor", "account")

REPUTATION: Final = tuple(
    declare(
        f"reputation_{entity}",
        unit="chance",
        reads=f"verdicts on earlier activities of the {entity}: age of the bad episode, good ones since, gap",
        null_when=f"no {entity}, or no verdict on it that tells anything",
        group=UNSCORED,
        show=percent,
    )
    for entity in _OF
)
"""Feature indexes by entity: destination, device, network, actor, account."""

"""The jobs of the `keys` queue, which the key worker alone reads: steps on wallet keys, accounts, sweeps, doomed keys."""

from service.domain.ids import AccountId, StepId
from service.flow import contain, finality
from service.flow.contain import Hands
from service.flow.finality import Looking
from service.vault.vaults import Vaults
from workers.jobs import Jobs


def jobs(hands: Hands, vault: Vaults) -> Jobs:
    """Return the functions behind the names."""
    return {
        "keys.step": lambda p: contain.step(hands, StepId(p["step_id"])),
        "keys.look": lambda p: finality.look(_looking(hands), p["timer_id"]),
        "keys.provision": lambda p: vault.provision(AccountId(p["account_id"])),
        "keys.destroy_due": lambda p: vault.destroy_due(AccountId(p["account_id"])),
        "keys.refresh": lambda _: vault.refresh(),
    }


def _looking(hands: Hands) -> Looking:
    return Looking(hands.db, hands.clock, hands.actions, hands.multisig, hands.vault)

"""A Bitcoin account's keys as containment uses them; implements `ports.keys.VaultKeys` for descriptor wallets.

Rules: Bitcoin has no lockout, so containment is the sweep: kept ready, raced, and final only when it is buried. Restricting
is as everywhere: the keys' states decide what is signed. A re-keyed wallet becomes current when the old one is empty.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from hsm.custodian import KeyRef
from hsm.errors import KeyNotFoundError
from hsm.keypath import DerivationPath
from hsm.restrictions import KeyState
from hsm.rotation import Loss
from service.domain.bitcoin.wallet import BitcoinWallet
from service.domain.errors import ConflictError, MissingCapabilityError, NotFoundError, PortcullisError
from service.domain.ids import AccountId
from service.domain.plan import Receipt, Verdict
from service.domain.standing import Standing
from service.domain.timeline import Entry
from service.domain.vault import VaultKey
from service.ports.keys import StillMine
from service.vault import bitcoin_keys as keys
from service.vault import bitcoin_sweeps as sweeps
from service.vault import bitcoin_wallets as wallets
from service.vault import destruction
from service.vault.bitcoin_sweeps import Errand
from service.vault.entries import free_keys, restrict_keys
from service.vault.parts import VaultParts, token_calls
from service.vault.provision import are_whole, require_whole

REFRESH_AFTER_S: Final = 120.0
"""How old a sweep that is kept ready may become."""
REFRESHED_AT_ONCE: Final = 20
_NEVER_MADE: Final = 1, 0
"""The reach of a key whose wallet's making broke off: at most it signed once for its first address."""


class BitcoinVault:
    """See the port."""

    def __init__(self, parts: VaultParts) -> None:
        self._parts = parts

    def provision(self, account: AccountId) -> Receipt:
        """Make the account's wallet and sign its safe destinations."""
        return wallets.provision(self._parts, account)

    def restrict(self, account: AccountId, *, key: str) -> Receipt:
        """Let the account's keys sign only sweeps."""
        return restrict_keys(self._parts, account, self._exposed(account), key)

    def restricted(self, account: AccountId) -> Verdict:
        """Ask whether no exposed key may sign freely."""
        free = any(k.state == KeyState.ACTIVE.value for k in self._exposed(account))
        return Verdict.DOES_NOT_HOLD if free else Verdict.HOLDS

    def lift_restriction(self, account: AccountId, *, key: str, still_mine: StillMine) -> Receipt:
        """Let restricted keys sign again."""
        return free_keys(self._parts, account, self._exposed(account), key, still_mine)

    def final(self) -> "BitcoinVault":
        """Return itself: what counts as done is as deep as what counts as final."""
        return self

    def standing(self, account: AccountId, transactions: Collection[str]) -> Standing:  # noqa: ARG002  see `final`
        """Return nothing: there is nothing that has to be looked at again."""
        return Standing({})

    def replace_pending(self, account: AccountId, up_to: Mapping[str, int], *, key: str) -> Receipt:  # noqa: ARG002  nothing is done
        """Refuse: a Bitcoin transaction is outbid by the sweep of the coins it spends."""
        raise MissingCapabilityError(f"account {account} is of Bitcoin, which has no nonces: sweep_to_safe outbids")

    def pending_replaced(self, account: AccountId, up_to: Mapping[str, int]) -> Verdict:  # noqa: ARG002  as replace_pending
        """See replace_pending."""
        return Verdict.CANNOT_TELL

    def revoke_allowances(self, account: AccountId, *, key: str) -> Receipt:  # noqa: ARG002  nothing is done
        """Refuse: Bitcoin knows no allowances."""
        raise MissingCapabilityError(f"account {account} is of Bitcoin, which has no allowances: nothing to take back")

    def allowances_revoked(self, account: AccountId) -> Verdict:  # noqa: ARG002  as revoke_allowances
        """See revoke_allowances."""
        return Verdict.CANNOT_TELL

    def prepare_rotation(self, account: AccountId, scope: str, *, key: str) -> Receipt:
        """Make the re-keyed wallet, each of whose keys has signed; make the sweep ready anew, not send it."""
        made = wallets.rekey(self._parts, account, Loss(scope), key)
        facts = {"address": wallets.address_of(made), "descriptor": made.descriptor.text, "sweep": self._ready(account)}
        return Receipt(f"{account}/{made.number}", {**facts, "step": key})

    def rotation_prepared(self, account: AccountId) -> Verdict:
        """Ask whether a wallet with fresh keys is there that is not in use yet, and the token whether they sign."""
        found = wallets.prepared_of(wallets.wallets_of(self._parts, account))
        if found is None:
            return Verdict.DOES_NOT_HOLD
        with self._parts.db.begin() as uow:
            whole = are_whole(uow, found.signers.values())
        return Verdict.HOLDS if whole and keys.answers(self._parts, found) else Verdict.DOES_NOT_HOLD

    def rotation_address(self, account: AccountId) -> str:
        """Return the first address of the re-keyed wallet."""
        every = wallets.wallets_of(self._parts, account)
        found = wallets.prepared_of(every) or (every[-1] if len(every) > 1 else None)
        if found is None:
            raise NotFoundError(f"account {account} has no prepared rotation: prepare it first")
        return wallets.address_of(found)

    def sweep(self, account: AccountId, *, key: str) -> Receipt:
        """Send everything the wallet holds to the verified safe destination."""
        task = self._errand(account, key)
        number = str(task.wallet.number)
        with self._parts.db.begin() as uow:
            mine = uow.keys.begin_sweep(account, key, number) == number
        if mine:
            sweeps.sweep(task)
        return Receipt(key, {"transactions": [row.transaction_hash for row in task.rows()]})

    def swept(self, account: AccountId, *, key: str = "") -> Verdict:
        """Ask the chain whether every sweep is final and nothing is left."""
        with self._parts.db.begin() as uow:
            begun = uow.keys.begun_sweep(account, key)
        every = wallets.wallets_of(self._parts, account)
        wallet = next((w for w in every if str(w.number) == begun), None) or wallets.current_of(every, account)
        return sweeps.swept(sweeps.errand(self._parts, wallet, ""))

    def retire(self, account: AccountId, *, key: str) -> Receipt:
        """Make the re-keyed wallet current and the old keys unable to sign; say what others took (`taken`, satoshis)."""
        leaves, every = self._parts.keys_of(account), wallets.wallets_of(self._parts, account)
        new, old = wallets.prepared_of(every), wallets.current_of(every, account)
        if new is None:
            if len(every) > 1:
                return Receipt(account, {"address": wallets.address_of(old)})
            raise ConflictError(f"account {account} has no new wallet yet: prepare the rotation first")
        with self._parts.db.begin() as uow:
            require_whole(uow, account, new.signers.values())
        if self.swept(account) is not Verdict.HOLDS:
            raise ConflictError(f"the old wallet of {account} is not empty yet: sweep it first")
        taken = sweeps.refresh(self._errand(account, key)).taken
        lost = [k for k in leaves if keys.home_of(k) not in new.homes]
        for leaf in _leaves(every, lost):
            with token_calls():
                if self._parts.token.exists(leaf):
                    self._parts.token.disable(leaf)
        with self._parts.db.begin() as uow:
            require_whole(uow, account, new.signers.values())
            wallets.make_current(uow, old, new)
            retired = uow.keys.set_key_state([one.id for one in lost], keys.SIGNING, KeyState.RETIRED.value)
            sentence = (
                f"Wallet {new.number} of account {account} is current, the keys of wallet {old.number} are retired;"
                f" {taken} satoshis were taken by others"
            )
            facts = {
                "keys": list(retired),
                "descriptor": new.descriptor.text,
                "step": key,
                "taken": str(taken),
            }
            uow.record(Entry(kind="keys.retired", at=uow.now, subject=account, sentence=sentence, facts=facts))
        return Receipt(account, {"address": wallets.address_of(new), "taken": str(taken)})

    def retired(self, account: AccountId) -> Verdict:
        """Ask the token whether a leaf of a replaced wallet could still sign."""
        every = wallets.wallets_of(self._parts, account)
        if len(every) < 2 or wallets.prepared_of(every) is not None:  # noqa: PLR2004  the old one and the new
            return Verdict.DOES_NOT_HOLD
        now = wallets.current_of(every, account).homes
        old = [k for k in self._parts.keys_of(account) if keys.home_of(k) not in now]
        if any(k.state in keys.SIGNING for k in old):
            return Verdict.DOES_NOT_HOLD
        with token_calls():
            able = any(self._able(leaf) for leaf in _leaves(every, old))
        return Verdict.DOES_NOT_HOLD if able else Verdict.HOLDS

    def destroy(self, account: AccountId, *, key: str) -> Receipt:
        """Decide that the retired keys are destroyed after a delay; their seeds stay sealed and are marked destroyed."""
        doomed = destruction.decide(self._parts, account, key)
        return Receipt(account, {"keys": [k.id for k in doomed]})

    def destroy_due(self, account: AccountId) -> int:
        """Destroy the retired leaves whose delay is over; return how many keys are gone now."""
        due = destruction.due(self._parts, account)
        if not due:
            return 0
        leaves = _leaves(wallets.wallets_of(self._parts, account), due)
        with token_calls():
            self._parts.token.destroy(*leaves)
        with self._parts.db.begin() as uow:
            destruction.note_gone(uow, account, due)
        return len(due)

    def destroyed(self, account: AccountId) -> Verdict:
        """Ask the token whether a leaf of a destroyed key is still there; a delay is all that may stand before it."""
        every = self._parts.keys_of(account)
        gone = [k for k in every if k.state == KeyState.DESTROYED.value]
        left = [k for k in every if k.state == KeyState.RETIRED.value]
        if not (gone or left) or any(k.destroy_from is None for k in left):
            return Verdict.DOES_NOT_HOLD
        leaves = _leaves(wallets.wallets_of(self._parts, account), gone)
        with token_calls():
            there = any(self._parts.token.exists(leaf) for leaf in leaves)
        return Verdict.DOES_NOT_HOLD if there else Verdict.HOLDS

    def refresh(self) -> int:
        """Make the sweeps ready anew that are stale; return how many. One account's failure stops no other's."""
        with self._parts.db.begin() as uow:
            stale = uow.bitcoin.stale(REFRESHED_AT_ONCE, REFRESH_AFTER_S)
        done = 0
        for account in stale:
            try:
                sweeps.refresh(self._errand(account, ""))
                done += 1
            except PortcullisError as error:
                sweeps.log.warning("sweep.not_made_ready", account=account, error_code=error.code, message=str(error))
        return done

    def _errand(self, account: AccountId, key: str) -> Errand:
        current = wallets.current_of(wallets.wallets_of(self._parts, account), account)
        return sweeps.errand(self._parts, current, key)

    def _ready(self, account: AccountId) -> dict[str, object]:
        try:
            return {"holds": sweeps.holdings(self._errand(account, ""))}
        except PortcullisError as error:
            # New keys are worth having even where nothing can be said of what the old ones hold.
            return {"lacking": str(error)}

    def _exposed(self, account: AccountId) -> list[VaultKey]:
        """Return the keys of the current wallet that may still sign."""
        current = wallets.current_of(wallets.wallets_of(self._parts, account), account)
        return [k for k in wallets.keys_under(self._parts, current) if k.state in keys.SIGNING]

    def _able(self, leaf: KeyRef) -> bool:
        try:
            return self._parts.token.may_sign(leaf)
        except KeyNotFoundError:
            return False


def _leaves(every: Sequence[BitcoinWallet], of: Sequence[VaultKey]) -> list[KeyRef]:
    """Return every leaf of these keys that proving them or signing for their wallets can have brought into the token."""
    reach = {home: wallet.reach for wallet in every for home in wallet.homes}
    return [
        KeyRef(k.wallet_id, DerivationPath.parse(f"{k.path}/{branch}/{index}"))
        for k in of
        for branch, end in enumerate(reach.get(keys.home_of(k), _NEVER_MADE))
        for index in range(end)
    ]

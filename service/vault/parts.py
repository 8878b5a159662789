"""What the vault works with, and the one place where the token's errors become the service's.

Rules: nothing of a database transaction is held across a token or chain call; "the token's answer was lost" stays an
unknown outcome; a key signs only what `hsm/restrictions.py` allows to its state, which is read just before and once
more before the signature is given out: what was restricted meanwhile gives none. A leaf that is not in the token is put
there at its first use, from the wallet's sealed seed, which after a restore is the one that a ceremony left (`restored.py`).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from hsm.custodian import KeyRef, SealedSeed, Signature, StatementSigner
from hsm.errors import HsmError, KeyNotFoundError, SealError
from hsm.errors import RetryKind as HsmRetry
from hsm.keypath import DerivationPath
from hsm.restrictions import KeyState, Refused, SigningRequest, may_sign
from hsm.schnorr import WalletKeys
from service.domain.errors import (
    ForbiddenError,
    InputError,
    MissingCapabilityError,
    RefusedByOtherSideError,
    UnavailableError,
    UnknownOutcomeError,
)
from service.domain.ids import AccountId
from service.domain.vault import VaultKey
from service.ports.chain import BitcoinChain, ContractChain
from service.ports.clock import Clock
from service.ports.store.unit import Database
from service.vault.restored import take_over
from service.vault.visits import Visits


@dataclass(frozen=True, slots=True)
class VaultParts:
    """Everything the vault needs."""

    db: Database
    token: WalletKeys
    statements: StatementSigner
    """The vault token's statement key, which signs safe destinations."""
    chains: Mapping[str, ContractChain]
    """By CAIP-2 id."""
    authority_pem: bytes
    """The pinned public key of the authority's vote key."""
    clock: Clock
    bitcoin: Mapping[str, BitcoinChain] = field(default_factory=dict)
    """Access to Bitcoin networks by CAIP-2 id."""
    at_last: bool = False
    """Whether chains are asked as their newest final block shows them: for questions only."""
    visits: Visits = field(default_factory=Visits)
    """When this process looked at which address of own EVM wallets."""

    def bitcoin_chain(self, chain: str) -> BitcoinChain:
        """Return the access to a Bitcoin network. Raises MissingCapabilityError when none is configured."""
        found = self.bitcoin.get(chain)
        if found is None:
            raise MissingCapabilityError(f"no endpoint for chain {chain}: set PORTCULLIS_CHAINS and restart")
        return found

    def chain(self, chain: str) -> ContractChain:
        """Return the access to a chain. Raises MissingCapabilityError when none is configured."""
        found = self.chains.get(chain)
        if found is None:
            raise MissingCapabilityError(f"no endpoint for chain {chain}: set PORTCULLIS_CHAINS and restart")
        return found.final() if self.at_last else found

    def keys_of(self, account: AccountId) -> tuple[VaultKey, ...]:
        """Return an account's leaf keys. Raises MissingCapabilityError when the vault holds none."""
        with self.db.begin() as uow:
            keys = tuple(uow.keys.keys_of(account))
        if not keys:
            raise MissingCapabilityError(f"the vault holds no key of account {account}: its platform or signers do")
        return keys

    def seed(self, wallet_id: str) -> SealedSeed:
        """Return a wallet's sealed seed as this token opens it.

        Raises InputError for a wallet that we have no record of, RefusedByOtherSideError when the token opens neither what
        we recorded nor what a ceremony left.
        """
        with self.db.begin() as uow:
            wallet = uow.keys.wallet(wallet_id)
        if wallet is None:
            raise InputError(f"the vault has no wallet {wallet_id}", field="wallet")
        sealed = SealedSeed(wallet.sealed_seed, wallet.restored)
        with token_calls():
            try:
                self.token.open_account(sealed, wallet_id, DerivationPath())
            except SealError:
                return take_over(self.db, self.token, wallet)
        return sealed

    def sign(self, key: VaultKey, request: SigningRequest, digest: bytes) -> Signature:
        """Sign if the key's state, before and after, allows this request. Raises ForbiddenError."""
        self.require_allowed(key, request)
        ref = ref_of(key)
        with token_calls():
            try:
                signature = self.token.sign(ref, digest)
            except KeyNotFoundError:
                self._bring_in(key, ref)
                signature = self.token.sign(ref, digest)
        self.require_allowed(key, request)
        return signature

    def require_allowed(self, key: VaultKey, request: SigningRequest) -> None:
        """Raise ForbiddenError unless the key's state, as it is now, allows this request."""
        with self.db.begin() as uow:
            current = next(k for k in uow.keys.keys_of(key.account_id) if k.id == key.id)
        answer = may_sign(KeyState(current.state), request)
        if isinstance(answer, Refused):
            raise ForbiddenError(answer.reason)

    def _bring_in(self, key: VaultKey, ref: KeyRef) -> None:
        """Put a leaf into the token that was proved but never used here. Raises KeyUseRefusedError for a retired one."""
        if self.token.leaf(self.seed(ref.wallet_id), ref.wallet_id, ref.path).public_key != key.public_key:
            raise KeyNotFoundError(f"the token derives another key than the recorded {key.id}: stop and look")


@contextmanager
def token_calls() -> Iterator[None]:
    """Turn the token layer's errors into the service's, keeping who acts next."""
    try:
        yield
    except HsmError as error:
        if error.retry is HsmRetry.VERIFY_FIRST:
            raise UnknownOutcomeError(f"the vault token's answer was lost: {error}") from error
        if error.retry is HsmRetry.LATER:
            raise UnavailableError(f"the vault token is not available: {error}") from error
        raise RefusedByOtherSideError(f"the vault token refused: {error}") from error


def ref_of(key: VaultKey) -> KeyRef:
    """Return how the token knows a key."""
    return KeyRef(key.wallet_id, DerivationPath.parse(key.path))

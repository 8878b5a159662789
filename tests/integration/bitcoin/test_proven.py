"""A Bitcoin wallet exists only when each key of ours signed for its address: no other is told, current or swept to."""

from typing import Any

import pytest

from hsm.custodian import LeafKey
from hsm.errors import KeyUseRefusedError
from hsm.keypath import DerivationPath
from hsm.pkcs11.custodian import TokenCustodian
from service.domain.bitcoin.descriptor import Descriptor, Kind
from service.domain.errors import ConflictError, RefusedByOtherSideError
from service.domain.plan import Verdict
from service.vault.bitcoin_wallets import prepared_of, wallets_of
from tests.integration.bitcoin.accounts import registered, vaults
from tests.support.vault import VaultHouse

pytestmark = pytest.mark.servers
METHOD = {"wsh": "prove", "tr": "sign_taproot", "wpkh": "prove", "tr_key": "sign_taproot"}
"""What a wallet's leaf signs its coins with, or as near as nothing stays in the token."""


def mute(*_: object, **__: object) -> Any:
    raise KeyUseRefusedError("this token does not sign")


@pytest.mark.parametrize("script", METHOD)
def test_a_key_that_does_not_sign_makes_no_wallet(
    house: VaultHouse, safe: Descriptor, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    account = registered(house, safe.text, script=script)
    with monkeypatch.context() as patched:
        patched.setattr(TokenCustodian, METHOD[script], mute)
        with pytest.raises(RefusedByOtherSideError, match="does not sign for its address"):
            vaults(house).prepare_rotation(account, "seed", key="p")
    assert prepared_of(wallets_of(house.parts, account)) is None
    assert vaults(house).rotation_prepared(account) is Verdict.DOES_NOT_HOLD
    with pytest.raises(ConflictError, match="no new wallet yet"):
        vaults(house).retire(account, key="t")
    vaults(house).prepare_rotation(account, "seed", key="p")
    assert vaults(house).rotation_prepared(account) is Verdict.HOLDS


@pytest.mark.parametrize("script", METHOD)
def test_the_token_is_asked_again_before_the_new_address_is_believed(
    house: VaultHouse, safe: Descriptor, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    account = registered(house, safe.text, script=script)
    vaults(house).prepare_rotation(account, "seed", key="p")
    asked: list[str] = []
    real = getattr(TokenCustodian, METHOD[script])

    def counted(token: TokenCustodian, *told: Any, **named: Any) -> Any:
        asked.append(script)
        return real(token, *told, **named)

    monkeypatch.setattr(TokenCustodian, METHOD[script], counted)
    assert vaults(house).rotation_prepared(account) is Verdict.HOLDS
    assert len(asked) == (1 if Kind(script).is_single else 3), "each key of the vault's"
    monkeypatch.setattr(TokenCustodian, METHOD[script], mute)
    assert vaults(house).rotation_prepared(account) is Verdict.DOES_NOT_HOLD


@pytest.mark.parametrize("script", METHOD)
def test_another_key_s_signature_proves_nothing(
    house: VaultHouse, safe: Descriptor, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    account = registered(house, safe.text, script=script)
    vaults(house).prepare_rotation(account, "seed", key="p")
    prove, sign = TokenCustodian.prove, TokenCustodian.sign_taproot

    def other_leaf(token: TokenCustodian, sealed: Any, wallet: str, paths: Any, digest: bytes) -> tuple[LeafKey, ...]:
        next_ones = [DerivationPath.parse(f"{str(path).rpartition('/')[0]}/1") for path in paths]
        return prove(token, sealed, wallet, next_ones, digest)

    def other_digest(token: TokenCustodian, sealed: Any, key: Any, _digest: bytes, **named: bool) -> bytes:
        return sign(token, sealed, key, bytes(32), **named)

    monkeypatch.setattr(TokenCustodian, "prove", other_leaf)
    monkeypatch.setattr(TokenCustodian, "sign_taproot", other_digest)
    assert vaults(house).rotation_prepared(account) is Verdict.DOES_NOT_HOLD


@pytest.mark.parametrize("script", ["tr", "tr_key"])
def test_a_taproot_leaf_that_was_proven_is_found_when_keys_are_destroyed(
    house: VaultHouse, safe: Descriptor, script: str
) -> None:
    """The proof puts it into the token, so the wallet's reach says so from its first moment."""
    account = registered(house, safe.text, script=script)
    vaults(house).prepare_rotation(account, "seed", key="p")
    assert [one.reach for one in wallets_of(house.parts, account)] == [(1, 0), (1, 0)]
    assert vaults(house).swept(account) is Verdict.HOLDS
    vaults(house).retire(account, key="t")
    assert vaults(house).retired(account) is Verdict.HOLDS

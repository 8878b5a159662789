"""Wallet keys in a real token: BIP-32 vectors through it, non-extractable leaves, disabled and destroyed keys."""

import os
import threading

import PyKCS11
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from eth_keys import datatypes as eth_keys

from hsm import ecdsa, p256
from hsm.custodian import Curve, KeyCustodian, KeyRef, StatementSigner
from hsm.derivation import ExtendedKey
from hsm.ecdsa import HALF_ORDER
from hsm.errors import KeyUnextractableError, KeyUseRefusedError, StatementError, TokenLayoutError
from hsm.keypath import DerivationPath
from hsm.pkcs11.custodian import TokenCustodian
from hsm.pkcs11.gate import GateSigner
from hsm.pkcs11.layout import IMPORT_KEY, SEED_KEY
from tests.integration.hsm.tokens import in_process
from tests.unit.hsm.bip32_vectors import VALID, Chain
from tests.unit.hsm.custodian_contract import check_contract
from tests.unit.hsm.slip10_vectors import VECTORS

ACCOUNT = DerivationPath.account(84, 0, 0)


@pytest.mark.parametrize("number", range(len(VECTORS)))
def test_slip10_vectors_pass_through_the_token(vault: TokenCustodian, number: int) -> None:
    seed, path, _, _, public = VECTORS[number]
    wallet = f"slip10-{number}"
    sealed = vault.restore_wallet(wallet, seed)
    assert sealed.restored
    leaf = vault.leaf(sealed, wallet, DerivationPath.parse(path), Curve.ED25519)
    assert leaf.public_key.hex() == public
    message = os.urandom(64)
    signature = vault.sign_message(leaf.ref, message)
    Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(signature, message)
    with vault._token.session() as session:
        handle = session.one(leaf.ref.label, PyKCS11.CKO_PRIVATE_KEY)
        assert session.read(handle, PyKCS11.CKA_VALUE) is None
        assert not session.flag(handle, PyKCS11.CKA_EXTRACTABLE)


@pytest.mark.parametrize("chain", VALID, ids=lambda chain: f"vector {chain.name}")
def test_bip32_vectors_pass_through_the_token(vault: TokenCustodian, chain: Chain) -> None:
    wallet = f"bip32-{chain.name}"
    sealed = vault.restore_wallet(wallet, chain.seed)
    for link in chain.links:
        path = DerivationPath.parse(link.path)
        assert vault.open_account(sealed, wallet, path).xpub == link.xpub
        leaf = vault.leaf(sealed, wallet, path)
        published = ExtendedKey.parse(link.xpub).public_key
        assert leaf.public_key == published
        digest = os.urandom(32)
        signature = vault.sign(leaf.ref, digest)
        assert ecdsa.verify(signature, digest, published)
        other = eth_keys.Signature(vrs=(signature.v, signature.r, signature.s))
        assert other.recover_public_key_from_msg_hash(digest).to_compressed_bytes() == published


def test_the_token_keeps_the_custodian_contract(vault: TokenCustodian) -> None:
    custodian: KeyCustodian = vault
    check_contract(custodian, "contract")


def test_every_signature_is_low_s(vault: TokenCustodian) -> None:
    sealed = vault.create_wallet("low-s")
    ref = vault.leaf(sealed, "low-s", ACCOUNT.leaf(0, 0)).ref
    assert all(vault.sign(ref, os.urandom(32)).s <= HALF_ORDER for _ in range(40))


def test_a_leaf_cannot_leave_the_token(vault: TokenCustodian) -> None:
    ref = vault.leaf(vault.create_wallet("stay"), "stay", ACCOUNT.leaf(0, 0)).ref
    with vault._token.session() as session:
        leaf = session.one(ref.label, PyKCS11.CKO_PRIVATE_KEY)
        seal = session.one(SEED_KEY, PyKCS11.CKO_SECRET_KEY)
        assert session.read(leaf, PyKCS11.CKA_VALUE) is None
        assert session.read(seal, PyKCS11.CKA_VALUE) is None
        for handle in (leaf, seal):
            assert session.flag(handle, PyKCS11.CKA_SENSITIVE)
            assert not session.flag(handle, PyKCS11.CKA_EXTRACTABLE)
        template = [
            (PyKCS11.CKA_CLASS, PyKCS11.CKO_SECRET_KEY),
            (PyKCS11.CKA_KEY_TYPE, PyKCS11.CKK_AES),
            (PyKCS11.CKA_VALUE_LEN, 32),
            (PyKCS11.CKA_WRAP, True),
        ]
        wrapper = session.generate_secret(PyKCS11.CKM_AES_KEY_GEN, template)
        for handle in (leaf, seal):
            with pytest.raises(KeyUnextractableError):
                session.wrap(wrapper, handle, PyKCS11.Mechanism(PyKCS11.CKM_AES_KEY_WRAP_PAD))
        session.destroy(wrapper)
        importer = session.one(IMPORT_KEY, PyKCS11.CKO_PRIVATE_KEY)
        with pytest.raises(KeyUseRefusedError):
            session.decrypt(importer, PyKCS11.RSAOAEPMechanism(PyKCS11.CKM_SHA_1, PyKCS11.CKG_MGF1_SHA1), bytes(384))


def test_another_process_sees_a_disabled_key_at_once(vault: TokenCustodian) -> None:
    ref = vault.leaf(vault.create_wallet("seen"), "seen", ACCOUNT.leaf(0, 0)).ref
    vault.sign(ref, bytes(32))
    done = in_process(
        vault._token.config,
        f"""
from hsm.custodian import KeyRef
from hsm.keypath import DerivationPath
from hsm.pkcs11.custodian import TokenCustodian
TokenCustodian.open(config).disable(KeyRef("seen", DerivationPath.parse("{ref.path}")))
return True
""",
    )
    assert done.error is None, done.message
    with pytest.raises(KeyUseRefusedError):
        vault.sign(ref, bytes(32))


def test_another_process_destroys_a_key_that_this_one_has_used(vault: TokenCustodian) -> None:
    ref = vault.leaf(vault.create_wallet("gone"), "gone", ACCOUNT.leaf(0, 0)).ref
    vault.sign(ref, bytes(32))
    answer = in_process(
        vault._token.config,
        f"""
from hsm.custodian import KeyRef
from hsm.keypath import DerivationPath
from hsm.pkcs11.custodian import TokenCustodian
TokenCustodian.open(config).destroy(KeyRef("gone", DerivationPath.parse("{ref.path}")))
return True
""",
    )
    assert answer.error is None, answer.message
    assert not vault.exists(ref)
    with pytest.raises(Exception, match="holds 0 objects"):
        vault.sign(ref, bytes(32))


def test_a_leaf_half_imported_is_completed(vault: TokenCustodian) -> None:
    sealed = vault.create_wallet("half")
    leaf = vault.leaf(sealed, "half", ACCOUNT.leaf(0, 0))
    with vault._token.session() as session:
        session.destroy(session.one(leaf.ref.label, PyKCS11.CKO_PRIVATE_KEY))
    assert not vault.exists(leaf.ref)
    assert vault.leaf(sealed, "half", ACCOUNT.leaf(0, 0)) == leaf
    assert ecdsa.verify(vault.sign(leaf.ref, bytes(32)), bytes(32), leaf.public_key)


def test_threads_share_a_token_and_make_each_leaf_once(vault: TokenCustodian) -> None:
    sealed = vault.create_wallet("threads")
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for index in range(5):
                leaf = vault.leaf(sealed, "threads", ACCOUNT.leaf(0, index))
                digest = os.urandom(32)
                assert ecdsa.verify(vault.sign(leaf.ref, digest), digest, leaf.public_key)
        except BaseException as failure:  # noqa: BLE001  carried to the test's own thread
            failures.append(failure)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    with vault._token.session() as session:
        label = KeyRef("threads", ACCOUNT.leaf(0, 0)).label
        assert len(session.find(label, PyKCS11.CKO_PRIVATE_KEY)) == 1


def test_the_vault_signs_statements_that_a_pinned_key_verifies(vault: TokenCustodian) -> None:
    signer: StatementSigner = vault.statements
    signature = signer.sign_statement(b"safe destination")
    signer.verify_statement(b"safe destination", signature)
    p256.verify(signer.statement_public_key_pem(), b"safe destination", signature)
    with pytest.raises(StatementError):
        signer.verify_statement(b"safe destinatiom", signature)


def test_a_token_of_another_power_is_refused(vault: TokenCustodian) -> None:
    with pytest.raises(TokenLayoutError, match="belongs to the power 'vault'"):
        GateSigner(vault._token)

"""How long a hundred leaves take to rotate in SoftHSM, beside the bare token operations that this cannot do without.

Run from the repository: `python -m bench.keys [--leaves N] [--rounds N] [--json]`. It starts its own PostgreSQL and token in
a temporary folder and removes them. "Rotate" is what the key worker does until new addresses can be published: propose,
derive, put each leaf into the token, let it sign, check, write down. Retiring is CKA_SIGN = false on old leaves that are in
the token; a sweep is a matter of the chain and not in here. The yardstick is one C_UnwrapKey, C_Sign and C_DestroyObject
for each leaf through PyKCS11, with nothing checked. Ratios travel between machines, figures do not.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import PyKCS11 as P
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding

from hsm.custodian import SealedSeed
from hsm.keypath import DerivationPath
from hsm.pkcs11.custodian import TokenCustodian
from hsm.pkcs11.keys import private_template, transport_key
from hsm.pkcs11.layout import IMPORT_KEY
from hsm.power import Power
from service.domain.ids import AccountId
from service.vault.parts import ref_of
from service.vault.provision import key_of
from tests.integration.hsm.tokens import set_up
from tests.support.chain import MemoryChain
from tests.support.servers import running_postgres, softhsm_folder
from tests.support.vault import VaultHouse, vault_house


@dataclass(frozen=True)
class Figures:
    leaves: int
    rotate_s: float
    """Median over the rounds, database and all."""
    rotate_cpu_s: float
    """Processor time of the same in this process: what it takes where no other work takes the cores."""
    token_s: float
    """Median of the part in the token and its checks alone."""
    bare_s: float
    """Median of the yardstick."""
    retire_s: float


@contextmanager
def a_vault() -> Iterator[tuple[VaultHouse, TokenCustodian]]:
    with ExitStack() as stack:
        softhsm = stack.enter_context(softhsm_folder())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        token = TokenCustodian.open(set_up(softhsm.module, softhsm.configuration, folder, Power.VAULT, "bench-vault"))
        stack.callback(token.close)
        postgres = stack.enter_context(running_postgres())
        house, close = vault_house(postgres.migrated_database(), token, token.statements, {"eip155:1": MemoryChain()})
        stack.callback(close)
        yield house, token


def an_account(house: VaultHouse, token: TokenCustodian, leaves: int) -> AccountId:
    """Return a provisioned account with so many leaves, none but the first in the token."""
    account = house.ready()
    (first,) = house.parts.keys_of(account)
    path = DerivationPath.parse(first.path).parent.parent
    with house.parts.db.begin() as uow:
        wallet = uow.keys.wallet(first.wallet_id)
    assert wallet is not None
    paths = [path.leaf(0, index) for index in range(1, leaves)]
    proved = token.prove(SealedSeed(wallet.sealed_seed), wallet.id, paths, bytes(32))
    with house.parts.db.begin() as uow:
        uow.keys.add_keys([key_of(account, leaf, first.chain) for leaf in proved])
    return account


def bare(token: TokenCustodian, leaves: int) -> float:
    """Unwrap, sign with and destroy so many prepared keys; nothing is derived and nothing checked."""
    with token._token.session() as session, transport_key(session, IMPORT_KEY) as transport:  # noqa: SLF001  the yardstick is below the interface
        form = serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        keys = [ec.generate_private_key(ec.SECP256K1()).private_bytes(*form) for _ in range(leaves)]
        wrapped = [aes_key_wrap_with_padding(transport.value, key) for key in keys]
        template = [
            (P.CKA_CLASS, P.CKO_PRIVATE_KEY),
            (P.CKA_KEY_TYPE, P.CKK_EC),
            *private_template("bare", P.CKA_SIGN, kept=False),
        ]
        began = time.perf_counter()
        for key in wrapped:
            handle = session.unwrap(transport.handle, P.Mechanism(P.CKM_AES_KEY_WRAP_PAD), key, template)
            session.sign(handle, P.CKM_ECDSA, bytes(32))
            session.destroy(handle)
        return time.perf_counter() - began


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def one_round(house: VaultHouse, token: TokenCustodian, leaves: int) -> Figures:
    account = an_account(house, token, leaves)
    old = house.parts.keys_of(account)
    with house.parts.db.begin() as uow:
        wallet = uow.keys.wallet(old[0].wallet_id)
    assert wallet is not None
    sealed = SealedSeed(wallet.sealed_seed)
    paths = [DerivationPath.parse(key.path) for key in old]
    inside = timed(lambda: token.prove(sealed, wallet.id, paths, bytes(32)))
    before = time.process_time()
    rotate = timed(lambda: house.vault.prepare_rotation(account, "leaf", key="bench"))
    processor = time.process_time() - before
    yardstick = bare(token, leaves)
    refs = [ref_of(key) for key in old]
    for ref in refs:
        token.leaf(sealed, wallet.id, ref.path)
    retire = timed(lambda: token.disable(*refs))
    token.destroy(*refs)
    return Figures(leaves, rotate, processor, inside, yardstick, retire)


def measure(leaves: int, rounds: int) -> Figures:
    with a_vault() as (house, token):
        found = [one_round(house, token, leaves) for _ in range(rounds)]
    times = zip(*((f.rotate_s, f.rotate_cpu_s, f.token_s, f.bare_s, f.retire_s) for f in found), strict=True)
    return Figures(leaves, *(statistics.median(column) for column in times))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--leaves", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    found = measure(given.leaves, given.rounds)
    if given.json:
        print(json.dumps(asdict(found)))
        return 0
    print(f"{found.leaves} leaves of one account, SoftHSM2, median of {given.rounds}")
    for name, took in (
        ("rotate: propose, generate, verify, write down", found.rotate_s),
        ("  of which processor time", found.rotate_cpu_s),
        ("  of which in the token, checked", found.token_s),
        ("retire: CKA_SIGN = false on each", found.retire_s),
        ("yardstick: bare unwrap, sign, destroy", found.bare_s),
    ):
        print(f"{name:<48} {took * 1000:8.0f} ms  {took / found.bare_s:6.2f} x")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

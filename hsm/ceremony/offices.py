"""The two tokens of a ceremony, each in a process of its own: one process opens one token's module (design D7).

Rules held here: the processes are started fresh, not forked, and end with the ceremony; what crosses is an argument and
an answer, errors included. The vault's process protects its memory before it opens the token, as the key worker does.
"""

import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Final, ParamSpec, TypeVar

from hsm.custodian import SealedSeed
from hsm.errors import CeremonyError
from hsm.keypath import DerivationPath
from hsm.memory import protect_process
from hsm.pkcs11.authority import AuthorityToken
from hsm.pkcs11.config import TokenConfig
from hsm.pkcs11.custodian import TokenCustodian
from hsm.pkcs11.module import TokenInfo

SEED_BYTES: Final = 32
"""256 bits: a seed for BIP-32 that fits 33 words of a share (SLIP-39)."""

_Params = ParamSpec("_Params")
_Result = TypeVar("_Result")
_open: dict[str, Any] = {}


class _Apart:
    """A process that opens one token."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))

    def _ask(self, work: Callable[_Params, _Result], *args: _Params.args, **kwargs: _Params.kwargs) -> _Result:
        try:
            return self._pool.submit(work, *args, **kwargs).result()
        except BrokenProcessPool:
            raise CeremonyError("a token's process ended: run the same plan again, it says how far it is") from None

    def close(self) -> None:
        """End the process, and with it the login."""
        self._pool.shutdown()


class TokenVault(_Apart):
    """`VaultOffice` on the vault token that a PKCS#11 URI names."""

    def describe(self) -> dict[str, str]:
        """Return what the token says of itself."""
        return self._ask(_describe_vault, self._uri)

    def kept(self, wallet: str) -> SealedSeed | None:
        """Return the seed that an earlier ceremony left."""
        return self._ask(_kept, self._uri, wallet)

    def draw(self) -> bytes:
        """Return 32 random bytes."""
        return self._ask(_draw, self._uri)

    def seal(self, wallet: str, seed: bytes) -> SealedSeed:
        """Seal a seed."""
        return self._ask(_seal, self._uri, wallet, seed)

    def xpub(self, sealed: SealedSeed, wallet: str, path: str) -> str:
        """Return an account's extended public key."""
        return self._ask(_xpub, self._uri, sealed, wallet, path)

    def keep(self, wallet: str, sealed: SealedSeed) -> None:
        """Leave a sealed seed in the token."""
        self._ask(_keep, self._uri, wallet, sealed)


class TokenWitnesses(_Apart):
    """`WitnessOffice` on the authority token that a PKCS#11 URI names."""

    def describe(self) -> dict[str, str]:
        """Return what the token says of itself."""
        return self._ask(_describe_authority, self._uri)

    def is_enrolled(self, name: str) -> bool:
        """Whether a witness is enrolled."""
        return self._ask(_is_enrolled, self._uri, name)

    def begin(self, name: str, seed: bytes) -> None:
        """Put a new factor's seed into the token."""
        self._ask(_begin, self._uri, name, seed)

    def confirm(self, name: str, code: str) -> None:
        """Confirm a factor by its first code."""
        self._ask(_confirm, self._uri, name, code, time.time())

    def remove(self, name: str) -> None:
        """Forget a witness."""
        self._ask(_remove, self._uri, name)

    def check(self, name: str, code: str) -> int:
        """Use up a witness's code."""
        return self._ask(_use, self._uri, name, code, time.time())

    def sign(self, text: str) -> bytes:
        """Sign a transcript's body."""
        return self._ask(_sign, self._uri, text)

    def public_key_pem(self) -> bytes:
        """Return the audit-checkpoint key's public half."""
        return self._ask(_public_key, self._uri)


def _vault(uri: str) -> TokenCustodian:
    if uri not in _open:
        protect_process()
        _open[uri] = TokenCustodian.open(TokenConfig.from_uri(uri))
    found: TokenCustodian = _open[uri]
    return found


def _authority(uri: str) -> AuthorityToken:
    if uri not in _open:
        _open[uri] = AuthorityToken.open(TokenConfig.from_uri(uri))
    found: AuthorityToken = _open[uri]
    return found


def _said_by(info: TokenInfo) -> dict[str, str]:
    firmware = ".".join(map(str, info.firmware))
    return {
        "label": info.label,
        "serial": info.serial,
        "model": info.model,
        "firmware": firmware,
        "host": os.uname().nodename,
    }


def _describe_vault(uri: str) -> dict[str, str]:
    return _said_by(_vault(uri).info())


def _describe_authority(uri: str) -> dict[str, str]:
    return _said_by(_authority(uri).info())


def _kept(uri: str, wallet: str) -> SealedSeed | None:
    return _vault(uri).kept_wallet(wallet)


def _draw(uri: str) -> bytes:
    return _vault(uri).draw(SEED_BYTES)


def _seal(uri: str, wallet: str, seed: bytes) -> SealedSeed:
    return _vault(uri).restore_wallet(wallet, seed)


def _xpub(uri: str, sealed: SealedSeed, wallet: str, path: str) -> str:
    return _vault(uri).open_account(sealed, wallet, DerivationPath.parse(path)).xpub


def _keep(uri: str, wallet: str, sealed: SealedSeed) -> None:
    _vault(uri).keep_wallet(wallet, sealed)


def _is_enrolled(uri: str, name: str) -> bool:
    return _authority(uri).witnesses.is_enrolled(name)


def _begin(uri: str, name: str, seed: bytes) -> None:
    _authority(uri).witnesses.begin(name, seed)


def _confirm(uri: str, name: str, code: str, at_s: float) -> None:
    _authority(uri).witnesses.confirm(name, code, at_s)


def _remove(uri: str, name: str) -> None:
    _authority(uri).witnesses.remove(name)


def _use(uri: str, name: str, code: str, at_s: float) -> int:
    return _authority(uri).witnesses.use(name, code, at_s)


def _sign(uri: str, text: str) -> bytes:
    return _authority(uri).sign_checkpoint(text.encode())


def _public_key(uri: str) -> bytes:
    return _authority(uri).checkpoint_public_key_pem()

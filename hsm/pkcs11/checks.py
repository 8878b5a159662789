"""What `portcullis doctor` asks of a token: does it load, is it the right one, can it do what its power needs.

Rules held here:
- Each check answers ok, warn, fail or unknown with what was seen and what to do; a check that could not run is
  `unknown`, never `ok`.
- Mechanisms are tried where a list says too little: whether secp256k1 is usable is found by signing with it, not by
  reading CKM_ECDSA in a list.
- Checks leave nothing behind: trial keys are session objects.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import PyKCS11 as P

from hsm import ecdsa
from hsm.errors import HsmError, MechanismMissingError
from hsm.pkcs11.config import TokenConfig
from hsm.pkcs11.keys import SECP256K1_OID
from hsm.pkcs11.layout import KEYS, require_layout
from hsm.pkcs11.module import load_module
from hsm.pkcs11.pin import PinRecord
from hsm.pkcs11.session import Token, TokenSession
from hsm.power import Power

NEEDED: Final[dict[Power, tuple[str, ...]]] = {
    Power.GATE: ("CKM_SHA256_RSA_PKCS", "CKM_RSA_PKCS_OAEP", "CKM_RSA_PKCS_KEY_PAIR_GEN"),
    Power.AUTHORITY: (
        "CKM_SHA_1_HMAC", "CKM_ECDSA", "CKM_EC_KEY_PAIR_GEN", "CKM_RSA_PKCS_OAEP", "CKM_RSA_PKCS_KEY_PAIR_GEN",
    ),
    Power.PLATFORM: (
        "CKM_SHA256_RSA_PKCS", "CKM_RSA_PKCS_OAEP", "CKM_RSA_PKCS_KEY_PAIR_GEN", "CKM_AES_KEY_WRAP_PAD",
    ),
    Power.VAULT: (
        "CKM_AES_GCM", "CKM_AES_KEY_GEN", "CKM_RSA_PKCS_OAEP", "CKM_AES_KEY_WRAP_PAD", "CKM_ECDSA",
        "CKM_EC_KEY_PAIR_GEN",
    ),
    Power.GUARDIAN: ("CKM_ECDSA", "CKM_EC_KEY_PAIR_GEN"),
}  # fmt: skip
USES_SECP256K1: Final = frozenset({Power.VAULT, Power.GUARDIAN})
ALIASES: Final = {"CKM_EC_KEY_PAIR_GEN": frozenset({"CKM_ECDSA_KEY_PAIR_GEN"})}
"""PKCS#11 v2.40 renamed this mechanism; both names have one number."""


class Outcome(StrEnum):
    """What a check found."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Check:
    """One finding: what was looked at, how it is, what was seen, what to do (empty when nothing)."""

    name: str
    outcome: Outcome
    seen: str
    advice: str = ""


def examine(config: TokenConfig, power: Power) -> tuple[Check, ...]:
    """Run every check of one token, in order; stops at the first that the others depend on. Never raises HsmError."""
    checks: list[Check] = []
    if not _step(checks, "module", lambda: _module(config)):
        return tuple(checks)
    if not _step(checks, "token", lambda: _token(config)):
        return tuple(checks)
    if not _step(checks, "pin record", lambda: _pin_record(config)):
        return tuple(checks)
    try:
        token = Token.open(config)
    except HsmError as failure:
        checks.append(Check("login", Outcome.FAIL, failure.code, str(failure)))
        return tuple(checks)
    try:
        checks.append(Check("login", Outcome.OK, "the PIN is accepted"))
        _step(checks, "mechanisms", lambda: _mechanisms(token, power))
        with token.session() as session:
            if power in USES_SECP256K1:
                _step(checks, "secp256k1", lambda: _secp256k1(session))
            _step(checks, "layout", lambda: _layout(session, power))
    finally:
        token.close()
    return tuple(checks)


def _step(checks: list[Check], name: str, run: Callable[[], str]) -> bool:
    try:
        checks.append(Check(name, Outcome.OK, run()))
    except HsmError as failure:
        checks.append(Check(name, Outcome.FAIL, failure.code, str(failure)))
        return False
    return True


def _module(config: TokenConfig) -> str:
    module = load_module(config.module, config.softhsm_conf)
    info = module.lib.getInfo()
    version = ".".join(map(str, info.libraryVersion))
    standard = ".".join(map(str, info.cryptokiVersion))
    return f"{info.manufacturerID.strip()} {version}, PKCS#11 {standard} ({config.module})"


def _token(config: TokenConfig) -> str:
    info = load_module(config.module, config.softhsm_conf).token(config.label)
    return (
        f"{info.label}: {info.manufacturer} {info.model}, serial {info.serial}, "
        f"hardware {info.hardware[0]}.{info.hardware[1]}, firmware {info.firmware[0]}.{info.firmware[1]}"
    )


def _pin_record(config: TokenConfig) -> str:
    PinRecord(config.state_dir, config.label).check()
    return "no refused PIN on record"


def _mechanisms(token: Token, power: Power) -> str:
    present = token.mechanisms()
    missing = [name for name in NEEDED[power] if not ({name} | ALIASES.get(name, frozenset())) & present]
    if missing:
        raise MechanismMissingError(f"the token lacks {', '.join(missing)}: it cannot serve the power {power.value}")
    return ", ".join(NEEDED[power])


def _secp256k1(session: TokenSession) -> str:
    public, private = session.generate_pair(
        P.CKM_EC_KEY_PAIR_GEN,
        [(P.CKA_TOKEN, False), (P.CKA_VERIFY, True), (P.CKA_EC_PARAMS, SECP256K1_OID)],
        [(P.CKA_TOKEN, False), (P.CKA_SIGN, True), (P.CKA_SENSITIVE, True), (P.CKA_EXTRACTABLE, False)],
    )
    try:
        digest = os.urandom(32)
        point = (session.read(public, P.CKA_EC_POINT) or b"")[-65:]
        ecdsa.finish(session.sign(private, P.CKM_ECDSA, digest), digest, ecdsa.compressed(point))
    finally:
        session.destroy(private)
        session.destroy(public)
    return "a trial key signed and the signature verifies"


def _layout(session: TokenSession, power: Power) -> str:
    require_layout(session, power)
    for spec in KEYS[power]:
        session.one(spec.label, spec.object_class)
    return ", ".join(spec.label for spec in KEYS[power])

"""Sets a token up for one power: initialise, set the user PIN, generate its keys, mark it. Safe to repeat at any point.

Rules held here:
- Each step looks before it acts, so a run that died half-way is finished by the next one and nothing is made twice.
- An initialised token is never initialised again: that would destroy its keys.
- A token of an older layout is refused unless the caller asks for the upgrade; a newer one always.
"""

from dataclasses import dataclass

import PyKCS11 as P

from hsm import ecdsa
from hsm.derivation import evm_address
from hsm.errors import TokenLayoutError, TokenNotFoundError
from hsm.pkcs11.config import PinSource, TokenConfig
from hsm.pkcs11.keys import ec_point
from hsm.pkcs11.layout import GUARDIAN_KEY, KEYS, LAYOUT_LABEL, LAYOUT_VERSION, read_mark, require_layout, write_mark
from hsm.pkcs11.module import Module, TokenInfo, load_module, padded
from hsm.pkcs11.pin import PinRecord, token_lock
from hsm.pkcs11.returns import translated
from hsm.pkcs11.session import Token, TokenSession, log_in
from hsm.power import Power


@dataclass(frozen=True, slots=True)
class Provisioned:
    """What a set-up did: whether it initialised the token, and the labels of the keys it generated now."""

    initialised: bool
    generated: tuple[str, ...]
    address: str | None = None
    """The guardian's EVM address, which has to be sent coin; None for every other power."""


def provision(config: TokenConfig, power: Power, so_pin: PinSource, *, upgrade: bool = False) -> Provisioned:
    """Set up the token `config` names for `power`.

    `so_pin` gives the security officer's PIN; it is asked for only when the token or its user PIN is still to be made.
    Raises as `Token.open`, and TokenLayoutError for a token of another power or version.
    """
    initialised = _ensure_initialised(config, so_pin)
    token = Token.open(config)
    try:
        with token.exclusive() as session:
            if not upgrade and read_mark(session) is not None:
                require_layout(session, power)
            generated = _ensure_keys(session, power)
            _ensure_mark(session, power)
            address = _guardian_address(session) if power is Power.GUARDIAN else None
    finally:
        token.close()
    return Provisioned(initialised, generated, address)


def _guardian_address(session: TokenSession) -> str:
    return evm_address(ecdsa.compressed(ec_point(session, GUARDIAN_KEY))).lower()


def _ensure_initialised(config: TokenConfig, so_pin: PinSource) -> bool:
    record = PinRecord(config.state_dir, config.label, who="so")
    record.check()
    with token_lock(config.state_dir, config.label):
        module = load_module(config.module, config.softhsm_conf)
        made = not _labelled(module, config.label)
        if made:
            slot = _blank_slot(module)
            with translated(f"initialising token {config.label}"):
                module.lib.initToken(slot, so_pin(), padded(config.label))
        info = module.token(config.label)
        if not info.has(P.CKF_USER_PIN_INITIALIZED):
            _set_user_pin(module, info, config, so_pin)
        return made


def _labelled(module: Module, label: str) -> list[TokenInfo]:
    return [token for token in module.tokens() if token.label == label and token.has(P.CKF_TOKEN_INITIALIZED)]


def _blank_slot(module: Module) -> int:
    for token in module.tokens():
        if not token.has(P.CKF_TOKEN_INITIALIZED):
            return token.slot
    raise TokenNotFoundError("no slot holds a blank token: make one with the device's own tool, then run this again")


def _set_user_pin(module: Module, info: TokenInfo, config: TokenConfig, so_pin: PinSource) -> None:
    with translated("opening a session"):
        raw = module.lib.openSession(info.slot, P.CKF_RW_SESSION)
    try:
        log_in(TokenSession(raw), so_pin(), P.CKU_SO, PinRecord(config.state_dir, config.label, who="so"))
        with translated("setting the user PIN"):
            raw.initPin(config.pin())
            raw.logout()
    finally:
        with translated("closing a session"):
            raw.closeSession()


def _ensure_keys(session: TokenSession, power: Power) -> tuple[str, ...]:
    made = []
    for spec in KEYS[power]:
        found = len(session.find(spec.label, spec.object_class))
        if found > 1:
            raise TokenLayoutError(f"the token holds {found} keys named {spec.label}: restore it from its backup")
        if found == 0:
            for stale in session.find(spec.label, P.CKO_PUBLIC_KEY):
                session.destroy(stale)
            spec.generate(session, spec.label)
            made.append(spec.label)
    return tuple(made)


def _ensure_mark(session: TokenSession, power: Power) -> None:
    mark = read_mark(session)
    if mark is not None and mark[1] != power:
        raise TokenLayoutError(
            f"the token belongs to the power {mark[1]!r}, not {power.value!r}: check the PKCS#11 URI"
        )
    if mark is not None and mark[0] > LAYOUT_VERSION:
        raise TokenLayoutError(
            f"the token has layout version {mark[0]}, newer than {LAYOUT_VERSION}: upgrade Portcullis"
        )
    if mark is None or mark[0] < LAYOUT_VERSION:
        for old in session.find(LAYOUT_LABEL, P.CKO_DATA):
            session.destroy(old)
        write_mark(session, power)

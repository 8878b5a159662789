"""An open token: one login per process, one session per thread, typed calls.

Rules held here:
- Load and login happen one process at a time (`token_lock`), and a refused PIN is recorded before anything else
  happens.
- A PKCS#11 session carries one operation at a time, so each thread has its own (PKCS#11 v2.40 section 6.7.4).
- A key is found by label and class: exactly one, or an error that names the count.
- The login is never given back by C_Logout, which would log out every thread; closing the last session ends it.
- A session that the token dropped is replaced at the next call, which logs in again under the same rules as the first time.
"""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Self

import PyKCS11 as P

from hsm.errors import KeyNotFoundError, PinLockedError, PinRefusedError, TokenLayoutError, TokenUnavailableError
from hsm.pkcs11.config import TokenConfig
from hsm.pkcs11.module import Module, TokenInfo, load_module
from hsm.pkcs11.pin import PinRecord, token_lock
from hsm.pkcs11.returns import to_error, translated

Template = Sequence[tuple[int, Any]]
Handle = Any
"""An object handle: opaque, valid in this process only."""

PIN_REFUSALS: Final = frozenset(
    {P.CKR_PIN_INCORRECT, P.CKR_PIN_INVALID, P.CKR_PIN_LEN_RANGE, P.CKR_PIN_EXPIRED, P.CKR_PIN_LOCKED}
)


class TokenSession:
    """One thread's session. Every call raises an HsmError when the token refuses."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def find(self, label: str, object_class: int) -> list[Handle]:
        """Return the handles of all objects with this label and CKO_* class."""
        with translated(f"looking for {label}"):
            return list(self._raw.findObjects([(P.CKA_CLASS, object_class), (P.CKA_LABEL, label)]))

    def labels(self, object_class: int) -> dict[str, list[Handle]]:
        """Return the handles of all objects of a CKO_* class by label: one walk, where many labels are looked for."""
        found: dict[str, list[Handle]] = {}
        with translated(f"listing objects of class {_name(object_class)}"):
            for handle in self._raw.findObjects([(P.CKA_CLASS, object_class)]):
                label = self._raw.getAttributeValue(handle, [P.CKA_LABEL])[0]
                found.setdefault(str(label), []).append(handle)
        return found

    def one(self, label: str, object_class: int) -> Handle:
        """Return the one object with this label and class. Raises KeyNotFoundError naming the count."""
        found = self.find(label, object_class)
        if len(found) != 1:
            raise KeyNotFoundError(f"the token holds {len(found)} objects of class {_name(object_class)} named {label}")
        return found[0]

    def read(self, handle: Handle, attribute: int) -> bytes | None:
        """Return an attribute's bytes, or None when the token does not show it (sensitive or absent)."""
        with translated("reading an attribute"):
            value = self._raw.getAttributeValue(handle, [attribute])[0]
        return None if value is None else bytes(value)

    def flag(self, handle: Handle, attribute: int) -> bool:
        """Return a boolean attribute. An attribute that the token does not show raises KeyNotFoundError."""
        with translated("reading an attribute"):
            value = self._raw.getAttributeValue(handle, [attribute])[0]
        if value is None:
            raise KeyNotFoundError("the token does not show this attribute of the key")
        return bool(value)

    def write(self, handle: Handle, template: Template) -> None:
        """Change attributes (C_SetAttributeValue)."""
        with translated("changing a key's attributes"):
            self._raw.setAttributeValue(handle, template)

    def create(self, template: Template) -> Handle:
        """Create an object (C_CreateObject)."""
        with translated("creating an object"):
            return self._raw.createObject(template)

    def destroy(self, handle: Handle) -> None:
        """Destroy an object (C_DestroyObject)."""
        with translated("destroying an object"):
            self._raw.destroyObject(handle)

    def generate_pair(self, mechanism: int, public: Template, private: Template) -> tuple[Handle, Handle]:
        """Generate a key pair inside the token; returns (public, private)."""
        with translated("generating a key pair"):
            handles = self._raw.generateKeyPair(public, private, P.Mechanism(mechanism))
        return handles[0], handles[1]

    def generate_secret(self, mechanism: int, template: Template) -> Handle:
        """Generate a secret key inside the token."""
        with translated("generating a key"):
            return self._raw.generateKey(template, P.Mechanism(mechanism))

    def sign(self, handle: Handle, mechanism: int, data: bytes) -> bytes:
        """Sign or MAC `data` with a mechanism that takes no parameter."""
        with translated("signing"):
            return bytes(self._raw.sign(handle, data, P.Mechanism(mechanism)))

    def encrypt(self, handle: Handle, mechanism: Any, data: bytes) -> bytes:
        """Encrypt with a prepared mechanism."""
        with translated("sealing"):
            return bytes(self._raw.encrypt(handle, data, mechanism))

    def decrypt(self, handle: Handle, mechanism: Any, data: bytes) -> bytes:
        """Decrypt with a prepared mechanism."""
        with translated("opening a sealed value"):
            return bytes(self._raw.decrypt(handle, data, mechanism))

    def unwrap(self, handle: Handle, mechanism: Any, wrapped: bytes, template: Template) -> Handle:
        """Unwrap a key into the token."""
        with translated("putting a key into the token"):
            return self._raw.unwrapKey(handle, wrapped, template, mechanism)

    def derive(self, base: Handle, mechanism: int, parameter: bytes, template: Template) -> tuple[Handle, bytes]:
        """Derive a key (C_DeriveKey); returns its handle and the parameter as the token left it."""
        prepared = P.Mechanism(mechanism, parameter)
        with translated("deriving a key"):
            handle = self._raw.deriveKey(base, template, prepared)
        # PyKCS11 hands the token this very memory; tests/unit/hsm/test_vendor.py holds it to that.
        return handle, bytes(prepared._param)  # noqa: SLF001  the only way to what the token wrote there

    def wrap(self, handle: Handle, key: Handle, mechanism: Any) -> bytes:
        """Wrap a key out of the token; a key of ours refuses (KeyUnextractableError)."""
        with translated("taking a key out of the token"):
            return bytes(self._raw.wrapKey(handle, key, mechanism))

    def random(self, size: int) -> bytes:
        """Return bytes of the token's random generator."""
        with translated("drawing random bytes"):
            return bytes(self._raw.generateRandom(size))

    def close(self) -> None:
        """Close the session."""
        with translated("closing a session"):
            self._raw.closeSession()


def handle_of(number: int) -> Handle:
    """Return the handle that a token named by its number."""
    handle = P.LowLevel.CK_OBJECT_HANDLE()
    handle.assign(number)
    return handle


class Token:
    """A token that this process is logged in to. Open it once, in the process that uses it, and share it by threads."""

    def __init__(self, config: TokenConfig, module: Module, info: TokenInfo, login: TokenSession) -> None:
        self.config = config
        self.info = info
        self._module = module
        self._login = login
        self._threads = threading.local()
        self._open: list[TokenSession] = []
        self._guard = threading.Lock()
        self._dropped = False

    @classmethod
    def open(cls, config: TokenConfig) -> Self:
        """Load the module, find the token by its label and log in.

        Raises ModuleMissingError, TokenNotFoundError, PinSourceError, PinRefusedError (then and until cleared),
        TokenLayoutError when the token was never set up.
        """
        record = PinRecord(config.state_dir, config.label)
        record.check()
        with token_lock(config.state_dir, config.label):
            record.check()
            module = load_module(config.module, config.softhsm_conf)
            info = module.token(config.label)
            if not info.has(P.CKF_USER_PIN_INITIALIZED):
                raise TokenLayoutError(
                    f"token {config.label} has no user PIN yet: run `portcullis hsm init` to finish it"
                )
            _require_safe_to_try(info, record)
            login = TokenSession(_open_raw(module, info.slot))
            log_in(login, config.pin(), P.CKU_USER, record)
        return cls(config, module, info, login)

    @contextmanager
    def session(self) -> Iterator[TokenSession]:
        """Give this thread's session; one that the token has dropped is replaced at the next call."""
        self._module.require_own_process()
        session: TokenSession | None = getattr(self._threads, "session", None)
        if session is None:
            session = self._threads.session = self._new_session()
        try:
            yield session
        except TokenUnavailableError:
            self._drop(session)
            raise

    @contextmanager
    def exclusive(self) -> Iterator[TokenSession]:
        """Give this thread's session while no other thread or process may add or remove objects of this token."""
        with token_lock(self.config.state_dir, self.config.label, "objects"), self.session() as session:
            yield session

    def mechanisms(self) -> frozenset[str]:
        """Return the names of the mechanisms that the token offers, for example `CKM_ECDSA`."""
        with translated("listing the mechanisms"):
            return frozenset(map(str, self._module.lib.getMechanismList(self.info.slot)))

    def mechanism_numbers(self) -> frozenset[int]:
        """Return the numbers of the mechanisms that the token offers: a vendor's own have no name of the standard."""
        with translated("listing the mechanisms"):
            found = self._module.lib.getMechanismList(self.info.slot)
        return frozenset(int(P.CKM[name]) for name in found)

    def close(self) -> None:
        """Close every session of this process to the token, and with the last one the login."""
        with self._guard:
            sessions, self._open = [*self._open, self._login], []
        for session in sessions:
            with contextlib.suppress(TokenUnavailableError):
                session.close()
        self._threads = threading.local()

    def _new_session(self) -> TokenSession:
        session = TokenSession(_open_raw(self._module, self.info.slot))
        if self._dropped:
            record = PinRecord(self.config.state_dir, self.config.label)
            with token_lock(self.config.state_dir, self.config.label):
                record.check()
                _require_safe_to_try(self._module.token(self.config.label), record)
                log_in(session, self.config.pin(), P.CKU_USER, record)
            self._dropped = False
        with self._guard:
            self._open.append(session)
        return session

    def _drop(self, session: TokenSession) -> None:
        self._threads.session = None
        self._dropped = True
        with self._guard:
            self._open = [other for other in self._open if other is not session]


def log_in(session: TokenSession, pin: str, user: int, record: PinRecord) -> None:
    """Log in once.

    A refusal is recorded durably before the error is raised; an unclear answer leaves the record prepared.
    """
    record.arm()
    try:
        session._raw.login(pin, user)  # noqa: SLF001  same module: the login is the token's business, not a caller's
    except P.PyKCS11Error as failure:
        value = int(failure.value)
        if value == P.CKR_USER_ALREADY_LOGGED_IN:
            record.disarm()
            return
        if value in PIN_REFUSALS:
            record.refuse()
        raise to_error(value, f"logging in to token {record.label}") from None
    record.disarm()


def _require_safe_to_try(info: TokenInfo, record: PinRecord) -> None:
    if info.has(P.CKF_USER_PIN_LOCKED):
        raise PinLockedError(f"token {info.label} has locked its PIN: its security officer must set a new one")
    if info.has(P.CKF_USER_PIN_FINAL_TRY):
        raise PinRefusedError(
            f"token {info.label} has one PIN try left: log in once with its maker's tool before starting this service"
        )
    if record.pending() and info.has(P.CKF_USER_PIN_COUNT_LOW):
        record.refuse()
        record.check()


def _open_raw(module: Module, slot: int) -> Any:
    with translated("opening a session"):
        return module.lib.openSession(slot, P.CKF_RW_SESSION)


def _name(object_class: int) -> str:
    return str(P.CKO.get(object_class, object_class))

"""The PKCS#11 module of this process: loaded once, never before a fork.

Rules held here (PKCS#11 v2.40 section 6.7.1, "Applications and processes"):
- One process loads one module, with one SoftHSM configuration: the library keeps its state per process, and design D7
  gives each power its own process.
- A child of fork() must not use its parent's module. The process id is checked at every use, and a module that was
  loaded before the fork is an error instead of two processes sharing one session table.
- The path of SoftHSM's configuration is set in the environment here and nowhere else, because SoftHSM reads it from
  there.
"""

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import PyKCS11 as P

from hsm.errors import ModuleInUseError, ModuleMissingError, TokenNotFoundError
from hsm.pkcs11.returns import to_error, translated
from hsm.softhsm import INSTALL_COMMAND

SOFTHSM_CONF_VARIABLE: Final = "SOFTHSM2_CONF"
LABEL_BYTES: Final = 32

_lock: Final = threading.Lock()
_loaded: "list[Module]" = []


@dataclass(frozen=True, slots=True)
class TokenInfo:
    """What a token says of itself (CK_TOKEN_INFO). `hardware` and `firmware` are (major, minor)."""

    slot: int
    label: str
    manufacturer: str
    model: str
    serial: str
    flags: int
    hardware: tuple[int, int]
    firmware: tuple[int, int]

    def has(self, flag: int) -> bool:
        """Whether a CKF_* flag is set."""
        return bool(self.flags & flag)


@dataclass(frozen=True, slots=True)
class Module:
    """A loaded PKCS#11 module. Made by `load_module` only."""

    path: Path
    softhsm_conf: Path | None
    lib: Any
    process: int

    def require_own_process(self) -> None:
        """Raise ModuleInUseError if the module was loaded before a fork."""
        if os.getpid() != self.process:
            raise ModuleInUseError(
                "the PKCS#11 module was loaded before a fork: load it in the child (worker_process_init)"
            )

    def tokens(self) -> tuple[TokenInfo, ...]:
        """Return every token that is present, initialised or not."""
        self.require_own_process()
        with translated("listing the tokens"):
            return tuple(self._info(slot) for slot in self.lib.getSlotList(tokenPresent=True))

    def token(self, label: str) -> TokenInfo:
        """Return the one token with this label. Raises TokenNotFoundError naming the count and the labels seen.

        Slot numbers change when a token is initialised, so tokens are found by label only.
        """
        tokens = self.tokens()
        found = [token for token in tokens if token.label == label and token.has(P.CKF_TOKEN_INITIALIZED)]
        if len(found) != 1:
            seen = ", ".join(sorted(token.label for token in tokens if token.label)) or "none"
            advice = "run `portcullis hsm init`" if not found else "give each token its own label"
            raise TokenNotFoundError(
                f"{len(found)} tokens are labelled {label} (present: {seen}): {advice}", field="token"
            )
        return found[0]

    def _info(self, slot: int) -> TokenInfo:
        raw = self.lib.getTokenInfo(slot)
        return TokenInfo(
            slot=int(slot),
            label=_text(raw.label),
            manufacturer=_text(raw.manufacturerID),
            model=_text(raw.model),
            serial=_text(raw.serialNumber),
            flags=int(raw.flags),
            hardware=tuple(raw.hardwareVersion),
            firmware=tuple(raw.firmwareVersion),
        )


def load_module(path: Path, softhsm_conf: Path | None = None) -> Module:
    """Return this process's module, loading it the first time.

    Raises ModuleMissingError when the file is absent or not a module (with the command that installs SoftHSM), and
    ModuleInUseError when the process loaded something else before or inherited a loaded module over a fork.
    """
    with _lock:
        if _loaded:
            module = _loaded[0]
            module.require_own_process()
            if (module.path, module.softhsm_conf) != (path, softhsm_conf):
                raise ModuleInUseError(
                    f"this process already opened {module.path} with configuration {module.softhsm_conf}: "
                    "one process opens one token's module (design D7)"
                )
            return module
        if not path.is_file():
            raise ModuleMissingError(
                f"the PKCS#11 module {path} is not there: correct the URI's module-path, or run `{INSTALL_COMMAND}`",
                field="module-path",
            )
        if softhsm_conf is not None:
            if not softhsm_conf.is_file():
                raise ModuleMissingError(
                    f"SoftHSM's configuration {softhsm_conf} is not there: run `portcullis hsm init`"
                )
            os.environ[SOFTHSM_CONF_VARIABLE] = str(softhsm_conf)
        module = Module(path, softhsm_conf, _initialised(path), os.getpid())
        _loaded.append(module)
        return module


def _initialised(path: Path) -> Any:
    lib = P.PyKCS11Lib()
    try:
        lib.load(str(path))
    except P.PyKCS11Error as failure:
        if int(failure.value) < 0:
            raise ModuleMissingError(f"{path} is not a PKCS#11 module for this machine", field="module-path") from None
        raise to_error(int(failure.value), "initialising the PKCS#11 module") from None
    return lib


def padded(label: str) -> str:
    """Return a token label padded with blanks to 32 bytes, as C_InitToken wants it.

    Raises TokenNotFoundError if longer.
    """
    if not 0 < len(label.encode()) <= LABEL_BYTES or not label.isascii():
        raise TokenNotFoundError(f"a token label has 1 to {LABEL_BYTES} ASCII characters", field="token")
    return label.ljust(LABEL_BYTES)


def _text(raw: str) -> str:
    return raw.rstrip("\x00 ").strip()

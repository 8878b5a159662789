"""Where one token is and how its PIN is asked for.

Rules held here:
- A configuration holds locators; the PIN is read through a callback at the moment of login and kept nowhere.
- A PIN file that others can read is refused: it would make the token's access control a fiction.
"""

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from hsm.errors import PinSourceError
from hsm.uri import Pkcs11Uri

PinSource = Callable[[], str]
MAX_PIN_BYTES: Final = 255


@dataclass(frozen=True, slots=True)
class TokenConfig:
    """One token: its module, label, PIN source, the folder of its durable state, and SoftHSM's configuration file."""

    module: Path
    label: str
    state_dir: Path
    pin: PinSource = field(repr=False)
    softhsm_conf: Path | None = None

    @classmethod
    def from_uri(cls, text: str, softhsm_conf: Path | None = None) -> Self:
        """Build from an RFC 7512 URI with `token`, `module-path` and `pin-source`.

        `softhsm_conf` wins over the URI's `x-softhsm-conf`. Raises TokenUriError naming what is missing.
        """
        uri = Pkcs11Uri.parse(text)
        pin_file = uri.need_file("pin-source")
        conf = softhsm_conf or (uri.need_file("x-softhsm-conf") if uri.get("x-softhsm-conf") else None)
        return cls(
            module=uri.need_file("module-path"),
            label=uri.need("token"),
            state_dir=uri.need_file("x-state-dir") if uri.get("x-state-dir") else pin_file.parent,
            pin=pin_from_file(pin_file),
            softhsm_conf=conf,
        )


def pin_from_file(path: Path) -> PinSource:
    """Return a callback that reads a PIN from a file of mode 0600 or 0400, one line of 1-255 bytes."""

    def read() -> str:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as failure:
            raise PinSourceError(f"cannot read the PIN file {path}: {failure.strerror}", field="pin-source") from None
        with os.fdopen(descriptor, encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            if mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise PinSourceError(f"{path} can be read by others: run `chmod 600 {path}`", field="pin-source")
            pin = file.read(MAX_PIN_BYTES + 2).rstrip("\r\n")
        if not 0 < len(pin.encode()) <= MAX_PIN_BYTES or "\n" in pin:
            raise PinSourceError(f"{path} must hold one line of 1 to {MAX_PIN_BYTES} bytes", field="pin-source")
        return pin

    return read

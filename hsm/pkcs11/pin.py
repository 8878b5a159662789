"""The durable record of a refused PIN: after one refusal no process logs in again until a person clears it.

Rules held here (design D7; real tokens lock for good after about three wrong PINs):
- The record is a file in the token's state folder, so it survives restarts and is seen by every process.
- It is prepared before the login (`arm`) and only renamed after a refusal, so a full disk cannot lose it.
- A login that died half-way leaves the prepared file. The token is then asked: CKF_USER_PIN_COUNT_LOW (PKCS#11 v2.40
  section 3.2, CK_TOKEN_INFO) says whether a wrong PIN was entered since the last good one.
- Clearing is its own act (`clear`), never a side effect of starting.
The record holds the time and the token's label; not the PIN, not its length, not a hash of it.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from hsm.errors import PinRefusedError, PinSourceError, TokenUnavailableError

LOCK_TIMEOUT_S: Final = 60.0
_POLL_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class PinRecord:
    """The refusal record of one PIN of one token. `who` is `user` or `so`."""

    state_dir: Path
    label: str
    who: str = "user"

    @property
    def refused_file(self) -> Path:
        """The file that, while it exists, stops every login."""
        return self.state_dir / f"{self.label}.{self.who}-pin-refused.json"

    @property
    def pending_file(self) -> Path:
        """The prepared record of a login that has not been answered yet."""
        return self.state_dir / f"{self.label}.{self.who}-pin-pending.json"

    def check(self) -> None:
        """Raise PinRefusedError if a refusal is on record."""
        if self.refused_file.exists():
            raise PinRefusedError(
                f"the PIN of token {self.label} was refused earlier and nothing logs in since: correct the PIN source, "
                f"then run `portcullis hsm pin-clear` (record: {self.refused_file})"
            )

    def arm(self) -> None:
        """Prepare the record on disk. Raises PinSourceError when it cannot be written: then nobody may log in."""
        body = json.dumps({"token": self.label, "pin": self.who, "at": datetime.now(UTC).isoformat(timespec="seconds")})
        try:
            descriptor = os.open(self.pending_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            self._sync_folder()
        except OSError as failure:
            raise PinSourceError(
                f"cannot write {self.pending_file} ({failure.strerror}): a refusal could not be recorded, so no login",
                field="state_dir",
            ) from None

    def pending(self) -> bool:
        """Whether a login was begun whose answer was never recorded."""
        return self.pending_file.exists()

    def refuse(self) -> None:
        """Make the prepared record final."""
        if self.pending():
            self.pending_file.replace(self.refused_file)
        else:
            self.arm()
            self.pending_file.replace(self.refused_file)
        self._sync_folder()

    def disarm(self) -> None:
        """Drop the prepared record: the login was answered and not refused."""
        self.pending_file.unlink(missing_ok=True)

    def clear(self) -> bool:
        """Remove the record, as a person decided. Returns whether there was one."""
        existed = self.refused_file.exists() or self.pending()
        self.refused_file.unlink(missing_ok=True)
        self.disarm()
        return existed

    def _sync_folder(self) -> None:
        descriptor = os.open(self.state_dir, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def token_lock(state_dir: Path, label: str, purpose: str = "login") -> Iterator[None]:
    """Hold the lock of one token across processes and threads (flock).

    Several processes that load a module and log in at once fail one time in four with SoftHSM; one at a time never did.
    Raises TokenUnavailableError when the lock is not free within a minute.
    """
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(state_dir / f"{label}.{purpose}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as failure:
        raise PinSourceError(
            f"cannot use the state folder {state_dir}: {failure.strerror}", field="state_dir"
        ) from None
    try:
        _acquire(descriptor, label)
        yield
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, label: str) -> None:
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise TokenUnavailableError(
                    f"another process has held token {label} for {LOCK_TIMEOUT_S:.0f} s: find and end it",
                    retry_after_s=LOCK_TIMEOUT_S,
                ) from None
            time.sleep(_POLL_S)
        else:
            return

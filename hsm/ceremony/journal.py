"""How far a ceremony is, on disk, so that whoever runs the file again knows whether to begin anew or to finish.

Rules held here:
- Three states. No file: nothing happened. `begun`: it was started and nothing was kept; a new run starts over with a new
  seed. `kept`: the witnesses closed it and the transcript is signed; a new run only finishes.
- A file is replaced whole and synced before the next act, so a crash leaves one state or the next.
- It holds the sealed seed and the transcript, never a share, a word or a code.
"""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from hsm.errors import CeremonyError

MAX_BYTES: Final = 512 * 1024


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is written down. `sealed` (hex), `restored` and `transcript` only once the witnesses closed it."""

    plan_digest: str
    tries: int
    sealed: str = ""
    restored: bool = False
    transcript: str = ""

    @property
    def is_kept(self) -> bool:
        """Whether the ceremony was closed and needs only to be finished."""
        return bool(self.transcript)


@dataclass(frozen=True, slots=True)
class Journal:
    """The files of one ceremony in a folder of mode 0700."""

    folder: Path
    ceremony: str

    @property
    def file(self) -> Path:
        """The journal itself; gone when the ceremony is over."""
        return self.folder / f"{self.ceremony}.journal.json"

    @property
    def transcript_file(self) -> Path:
        """The signed transcript, there when the ceremony is over."""
        return self.folder / f"{self.ceremony}.transcript.json"

    def read(self) -> Entry | None:
        """Return how far it is. Raises CeremonyError when the file cannot be read."""
        try:
            raw = self.file.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise CeremonyError(f"{self.file} cannot be read: {error.strerror}") from None
        try:
            return msgspec.json.decode(raw[:MAX_BYTES], type=Entry)
        except msgspec.MsgspecError:
            raise CeremonyError(f"{self.file} is damaged: restore it, or remove it to begin anew") from None

    def write(self, entry: Entry) -> None:
        """Write how far it is, durably. Raises CeremonyError when that is impossible."""
        self._write(self.file, msgspec.json.encode(entry))

    def publish(self, transcript: str) -> None:
        """Put the transcript in its place, durably, then remove the journal."""
        self._write(self.transcript_file, transcript.encode())
        self.file.unlink(missing_ok=True)
        self._sync()

    def _write(self, path: Path, body: bytes) -> None:
        draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
            self._sync()
        except OSError as error:
            raise CeremonyError(f"cannot write {path}: {error.strerror}; nothing was kept") from None
        finally:
            draft.unlink(missing_ok=True)

    def _sync(self) -> None:
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

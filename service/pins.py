"""Public keys that other processes pin: one PEM file each in the installation's `public/` folder.

Rules: the process that opens the token writes its key on the first start and never changes it; a file that holds another
key stops the start, because what others sealed for it or verify by it would be lost. `portcullis up` takes the files over
once everything is ready.
"""

import os
from pathlib import Path

from service.domain.errors import ConfigurationError


def require_pinned(path: Path, pem: bytes) -> None:
    """Check that `path` holds this key; write it when there is no file yet.

    Raises ConfigurationError when it holds another key or cannot be written.
    """
    try:
        _write_new(path, pem)
    except FileExistsError:
        pass
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written ({error.strerror}): run `portcullis up` again") from error
    if path.read_bytes().strip() != pem.strip():
        raise ConfigurationError(
            f"{path} is not the public key of this process's token: restore the token or the file from the same backup"
        )


def _write_new(path: Path, pem: bytes) -> None:
    """Create the file with its whole content at once: a reader never sees half a key."""
    if path.exists():
        raise FileExistsError(path)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_bytes(pem)
    draft.chmod(0o644)
    try:
        os.link(draft, path)
    finally:
        draft.unlink()

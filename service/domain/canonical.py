"""One byte form for every document that is hashed or signed: RFC 8785 (JSON Canonicalization Scheme).

Rules:

- A digest is SHA-256(tag ‖ 0x00 ‖ canonical bytes). The tag names what is hashed and its version,
  so that a digest of one kind of document never passes for another kind.
- No floating-point number and no integer beyond ±(2^53 - 1) is accepted, not even where RFC 8785 could write it: two
  readers may round it differently. An amount is a decimal string of base units.
- Strings must be valid Unicode (no lone surrogates). They are not normalised: two spellings are two documents.
- Depth and size are bounded, so that a hostile document costs bounded work.
- A personal field enters a permanent record only as a salted commitment. Dropping the salt erases the field and leaves
  every proof over the record intact. The salt is secret: low-entropy values (a name, an address) are guessable with it.
"""

import hashlib
import hmac
import json
import secrets
from typing import Final

import rfc8785

from service.domain.errors import InputError

MAX_DEPTH: Final = 32
"""Containers inside one another, at most."""
MAX_BYTES: Final = 1 << 20
"""Length of the canonical form, at most."""
SALT_BYTES: Final = 32
"""Length of a commitment's salt, exactly: a fixed length keeps salt and value apart without a separator."""

_ENCODER: Final = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, sort_keys=True, separators=(",", ":")
)
_MAX_INTEGER: Final = 2**53 - 1
_MAX_TAG: Final = 64
_COMMITMENT_TAG: Final = b"portcullis/commitment/v1"


def canonical(document: object) -> bytes:
    """Return the RFC 8785 bytes of a document made of dict, list, tuple, str, int, bool and None.

    Raises `InputError` that names the offending place as a JSON path (`$.steps[2].amount`).
    """
    _check(document, "$", depth=0)
    # In ASCII the standard library writes the same, many times faster: keys sort alike, escapes are alike (RFC 8785 3.2).
    text = _ENCODER.encode(document)
    encoded = text.encode() if text.isascii() else rfc8785.dumps(document)  # type: ignore[arg-type]  # see _check
    if len(encoded) > MAX_BYTES:
        raise InputError(f"the document is {len(encoded)} bytes in canonical form, at most {MAX_BYTES}", field="$")
    return encoded


def digest(tag: str, document: object) -> str:
    """Return the lower-case hex SHA-256 of `tag`, a zero byte and the document's canonical bytes.

    `tag` is like `portcullis/approval/v1`: 1 to 64 visible ASCII characters. Raises `InputError` as `canonical` does.
    """
    return digest_of(tag, canonical(document))


def digest_of(tag: str, encoded: bytes) -> str:
    """Return the digest of a document whose canonical bytes are at hand. Raises `InputError` for a wrong tag."""
    return hashlib.sha256(_tag_bytes(tag) + b"\x00" + encoded).hexdigest()


def new_salt() -> bytes:
    """Return a fresh random salt for one commitment; keep it apart from the record, and never use it twice."""
    return secrets.token_bytes(SALT_BYTES)


def commit(value: str, salt: bytes) -> str:
    """Return the lower-case hex commitment to a personal field under a 32-byte salt; raises `InputError`."""
    if len(salt) != SALT_BYTES:
        raise InputError(f"a salt is {SALT_BYTES} bytes, not {len(salt)}; take one from new_salt()", field="salt")
    _check_text(value, "value")
    return hashlib.sha256(_COMMITMENT_TAG + b"\x00" + salt + value.encode()).hexdigest()


def opens(commitment: str, value: str, salt: bytes) -> bool:
    """Say whether `value` and `salt` are what the commitment was made of; compares in constant time."""
    return hmac.compare_digest(commit(value, salt).encode(), commitment.encode(errors="surrogatepass"))


def _tag_bytes(tag: str) -> bytes:
    visible = tag.isascii() and tag.isprintable() and " " not in tag
    if not (visible and 0 < len(tag) <= _MAX_TAG):
        raise InputError(f"a digest's tag is 1 to {_MAX_TAG} visible ASCII characters, not {tag!r}", field="tag")
    return tag.encode("ascii")


def _check(value: object, path: str, *, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise InputError(f"nested deeper than {MAX_DEPTH} at {path}", field=path)
    match value:
        case None | bool():
            return
        case int():
            _check_integer(value, path)
        case str():
            _check_text(value, path)
        case list() | tuple():
            for index, item in enumerate(value):
                _check(item, f"{path}[{index}]", depth=depth + 1)
        case dict():
            for key, item in value.items():
                _check_key(key, path)
                _check(item, f"{path}.{key}", depth=depth + 1)
        case float():
            raise InputError(f"{path} is a floating-point number; write it as a decimal string", field=path)
        case _:
            raise InputError(f"{path} is a {type(value).__name__}, which JSON does not have", field=path)


def _check_integer(value: int, path: str) -> None:
    if abs(value) > _MAX_INTEGER:
        raise InputError(f"{path} is beyond 2^53 - 1; write it as a decimal string", field=path)


def _check_key(key: object, path: str) -> None:
    if not isinstance(key, str):
        raise InputError(f"{path} has a key that is a {type(key).__name__}; keys are strings", field=path)
    _check_text(key, path)


def _check_text(text: str, path: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{path} holds a lone surrogate, which is not a character", field=path) from error

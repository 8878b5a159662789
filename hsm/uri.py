"""PKCS#11 URIs as values (RFC 7512).

Rules held here:
- A URI locates a token, it does not hold a secret: the PIN is named by `pin-source` (a file). `pin-value` is refused,
  because URIs end up in process lists, logs and shell history.
- An unknown path attribute is an error (RFC 7512 section 2.3 forbids guessing); unknown query attributes are ignored
  only when they are vendor attributes (`x-…`), as section 2.4 asks.
- An attribute given twice is an error.
- Two vendor attributes are ours: `x-softhsm-conf` (SoftHSM's configuration file) and `x-state-dir` (where a refused PIN
  is recorded; default: the folder of the PIN source).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self
from urllib.parse import quote, unquote_to_bytes

from hsm.errors import TokenUriError

SCHEME: Final = "pkcs11:"
MAX_CHARS: Final = 4096
PATH_ATTRIBUTES: Final = frozenset(
    {
        "token", "manufacturer", "serial", "model", "library-manufacturer", "library-version", "library-description",
        "object", "type", "id", "slot-id", "slot-description", "slot-manufacturer",
    }
)  # fmt: skip
QUERY_ATTRIBUTES: Final = frozenset({"pin-source", "module-name", "module-path"})
_PATH_SAFE: Final = ":[]@!$'()*+,=&"
_QUERY_SAFE: Final = ":[]@!$'()*+,=/?"


@dataclass(frozen=True, slots=True)
class Pkcs11Uri:
    """A parsed PKCS#11 URI: its path attributes and its query attributes, decoded, in the order given."""

    path: tuple[tuple[str, str], ...]
    query: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a URI such as `pkcs11:token=portcullis-vault?module-path=/usr/lib/…&pin-source=file:/etc/…`.

        Raises TokenUriError that names the attribute and never repeats a value.
        """
        if len(text) > MAX_CHARS:
            raise TokenUriError(f"a PKCS#11 URI has at most {MAX_CHARS} characters", field="uri")
        if not text.lower().startswith(SCHEME):
            raise TokenUriError(
                "a PKCS#11 URI starts with 'pkcs11:', for example pkcs11:token=portcullis-vault", field="uri"
            )
        path_text, _, query_text = text[len(SCHEME) :].partition("?")
        path = _attributes(path_text, ";")
        query = _attributes(query_text, "&")
        for name in path:
            if name not in PATH_ATTRIBUTES and not name.startswith("x-"):
                raise TokenUriError(f"attribute {name!r} is not one of RFC 7512 section 2.3", field="uri")
        for name in query:
            if name == "pin-value":
                raise TokenUriError(
                    "a PIN does not belong into a URI: use pin-source=file:/path/to/pin", field="pin-value"
                )
            if name not in QUERY_ATTRIBUTES and not name.startswith("x-"):
                raise TokenUriError(f"query attribute {name!r} is not one of RFC 7512 section 2.4", field="uri")
        return cls(tuple(path.items()), tuple(query.items()))

    def get(self, name: str) -> str | None:
        """Return the value of a path or query attribute, or None."""
        return dict(self.path + self.query).get(name)

    def need(self, name: str) -> str:
        """Return the value of an attribute. Raises TokenUriError naming the attribute that is missing."""
        value = self.get(name)
        if not value:
            raise TokenUriError(f"the PKCS#11 URI lacks {name}=…: add it", field=name)
        return value

    def need_file(self, name: str) -> Path:
        """Return an attribute as an absolute path; `file:` forms of RFC 7512 section 2.4 are understood."""
        value = self.need(name)
        for prefix in ("file://", "file:"):
            if value.startswith(prefix):
                value = value[len(prefix) :]
                break
        if value.startswith("|"):
            raise TokenUriError(f"{name} runs a command; only files are supported", field=name)
        if not value.startswith("/"):
            raise TokenUriError(f"{name} must be an absolute path", field=name)
        return Path(value)

    def __str__(self) -> str:
        path = ";".join(f"{name}={quote(value, safe=_PATH_SAFE)}" for name, value in self.path)
        query = "&".join(f"{name}={quote(value, safe=_QUERY_SAFE)}" for name, value in self.query)
        return f"{SCHEME}{path}" + (f"?{query}" if query else "")


def _attributes(text: str, separator: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in text.split(separator) if text else ():
        name, equals, raw = part.partition("=")
        if not equals or not name:
            raise TokenUriError("each attribute is written name=value", field="uri")
        if name in found:
            raise TokenUriError(f"attribute {name!r} is given twice", field=name)
        found[name] = _decode(name, raw)
    return found


def _decode(name: str, raw: str) -> str:
    try:
        value = unquote_to_bytes(raw).decode("utf-8")
    except UnicodeDecodeError:
        raise TokenUriError(f"attribute {name!r} is not percent-encoded UTF-8", field=name) from None
    if any(ord(character) < ord(" ") for character in value):
        raise TokenUriError(f"attribute {name!r} holds a control character", field=name)
    return value

"""The plan of a key ceremony: one YAML file, read strictly, with a digest that the witnesses compare.

Rules held here:
- Pure. Nothing is guessed: an unknown field, a repeated key, an alias or a value of another type is an error that names
  the field, before any token is opened.
- The digest is SHA-256 over a tag and RFC 8785 JSON of every field, so two files that mean the same have one digest and
  a changed word another. Witnesses approve this digest with their first code.
- At least two witnesses, each once. A new seed may be backed up by shares (SLIP-39); a restored one has its backup.
"""

import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import msgspec
import rfc8785
import yaml

from hsm.custodian import require_wallet_id
from hsm.errors import CeremonyError, HsmError
from hsm.keypath import DerivationPath
from hsm.shares import ShareScheme

MAX_FILE_BYTES: Final = 16 * 1024
MAX_ACCOUNTS: Final = 20
MIN_WITNESSES: Final = 2
MAX_WITNESSES: Final = 5
MAX_PURPOSE: Final = 200
NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,39}", re.ASCII)
_TAG: Final = b"portcullis/ceremony-plan/v1\x00"


class SeedSource(StrEnum):
    """Where the wallet's seed comes from."""

    NEW = "new"
    """32 bytes of the vault token's random generator."""
    WORDS = "words"
    """BIP-39 words of another wallet."""
    SHARES = "shares"
    """SLIP-39 shares of an earlier ceremony or another wallet."""


class PlannedAccount(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An account whose public side the transcript states. `first_address`, where given, must come out."""

    path: str
    first_address: str = ""


class PlannedBackup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Backup shares of a new seed; with `read_back`, `threshold` of them are typed in before anything is kept."""

    shares: int
    threshold: int
    read_back: bool = True


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    ceremony: str
    purpose: str
    wallet: str
    seed: SeedSource
    accounts: list[PlannedAccount]
    witnesses: list[str]
    backup: PlannedBackup | None = None


@dataclass(frozen=True, slots=True)
class CeremonyPlan:
    """A plan whose every field was checked."""

    ceremony: str
    purpose: str
    wallet: str
    seed: SeedSource
    accounts: tuple[PlannedAccount, ...]
    witnesses: tuple[str, ...]
    backup: PlannedBackup | None

    @property
    def scheme(self) -> ShareScheme | None:
        """How the seed is split, or None."""
        return None if self.backup is None else ShareScheme(self.backup.threshold, self.backup.shares)

    def as_json(self) -> dict[str, Any]:
        """Return every field as plain values."""
        return {
            "ceremony": self.ceremony,
            "purpose": self.purpose,
            "wallet": self.wallet,
            "seed": self.seed.value,
            "accounts": [{"path": a.path, "first_address": a.first_address} for a in self.accounts],
            "witnesses": list(self.witnesses),
            "backup": None if self.backup is None else msgspec.to_builtins(self.backup),
        }

    @property
    def digest(self) -> str:
        """SHA-256 of the plan, in hex."""
        return hashlib.sha256(_TAG + rfc8785.dumps(self.as_json())).hexdigest()


def read_plan(text: str) -> CeremonyPlan:
    """Read a plan. Raises CeremonyError naming the field that is wrong."""
    if len(text.encode()) > MAX_FILE_BYTES:
        raise CeremonyError(f"a ceremony's file has at most {MAX_FILE_BYTES} bytes", field="file")
    try:
        file = msgspec.convert(yaml.load(text, _StrictLoader), _File)  # noqa: S506  a SafeLoader that refuses more
    except yaml.YAMLError as error:
        raise CeremonyError(
            f"the file is not the YAML that is taken here: {_first_line(error)}", field="file"
        ) from None
    except msgspec.ValidationError as error:
        raise CeremonyError(f"the plan is wrong: {error}", field="file") from None
    plan = CeremonyPlan(
        ceremony=_named(file.ceremony, "ceremony"),
        purpose=file.purpose,
        wallet=file.wallet,
        seed=file.seed,
        accounts=tuple(PlannedAccount(_account_path(a.path), a.first_address) for a in file.accounts),
        witnesses=tuple(_named(name, "witnesses") for name in file.witnesses),
        backup=file.backup,
    )
    _require_sound(plan)
    return plan


def _require_sound(plan: CeremonyPlan) -> None:
    if not 0 < len(plan.purpose) <= MAX_PURPOSE or not plan.purpose.isprintable():
        raise CeremonyError(f"say the purpose in 1 to {MAX_PURPOSE} printable characters", field="purpose")
    if not 1 <= len(plan.accounts) <= MAX_ACCOUNTS or len({a.path for a in plan.accounts}) != len(plan.accounts):
        raise CeremonyError(f"name 1 to {MAX_ACCOUNTS} accounts, each once", field="accounts")
    if not MIN_WITNESSES <= len(plan.witnesses) <= MAX_WITNESSES:
        raise CeremonyError(f"name {MIN_WITNESSES} to {MAX_WITNESSES} witnesses", field="witnesses")
    if len(set(plan.witnesses)) != len(plan.witnesses):
        raise CeremonyError("a witness is named twice: two codes of one person are one witness", field="witnesses")
    if plan.backup is not None and plan.seed is not SeedSource.NEW:
        raise CeremonyError("a restored seed has its backup already: leave `backup` out", field="backup")
    try:
        require_wallet_id(plan.wallet)
        _ = plan.scheme
    except HsmError as error:
        raise CeremonyError(str(error), field=error.field) from None


def _named(name: str, field: str) -> str:
    if NAME.fullmatch(name) is None:
        raise CeremonyError(f"{field}: a name is 1-40 of a-z 0-9 and -, alphanumeric first", field=field)
    return name


def _account_path(text: str) -> str:
    try:
        path = DerivationPath.parse(text)
    except HsmError as error:
        raise CeremonyError(f"accounts: {error}", field="accounts") from None
    if not path.is_hardened_account:
        raise CeremonyError(f"accounts: {text} is no account path m/purpose'/coin'/account'", field="accounts")
    return str(path)


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML without aliases and repeated keys."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.constructor.ConstructorError(None, None, "aliases are not taken", None)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:  # noqa: FBT001, FBT002  the base class's signature
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for place, key in enumerate(keys):
            if key in keys[:place]:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep=deep)


def _first_line(error: yaml.YAMLError) -> str:
    return str(getattr(error, "problem", None) or error).splitlines()[0]

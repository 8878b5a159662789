"""A ceremony's tokens and people in memory, and a script of who answers what."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from hsm.custodian import SealedSeed
from hsm.errors import CeremonyError
from hsm.keypath import DerivationPath
from hsm.software import ACKNOWLEDGEMENT, SoftwareCustodian

AT = datetime(2026, 1, 1, 9, tzinfo=UTC)
PLAN = """\
ceremony: treasury-2026
purpose: The treasury's seed is drawn and backed up.
wallet: treasury
seed: new
backup: {shares: 3, threshold: 2}
accounts:
  - path: m/84h/0h/0h
  - path: m/44h/60h/0h
  - path: m/44h/501h/0h
witnesses: [first-officer, second-officer]
"""


def plan_text(**changes: str) -> str:
    """Return the plan with whole lines replaced, or left out where the new text is empty."""
    lines = PLAN.splitlines()
    for name, line in changes.items():
        lines = [line if old.startswith(f"{name}:") else old for old in lines]
    return "\n".join(line for line in lines if line) + "\n"


class Stopped(BaseException):
    """The process died here: nothing of ours may catch it."""


@dataclass
class Fate:
    """Stops everything at the n-th call of an office; counts the calls otherwise."""

    at: int | None = None
    passed: int = 0

    @contextmanager
    def call(self) -> Iterator[None]:
        self._point()
        yield
        self._point()

    def _point(self) -> None:
        self.passed += 1
        if self.passed == self.at:
            raise Stopped


@dataclass
class MemoryVault:
    """`VaultOffice` in memory."""

    custodian: SoftwareCustodian = field(default_factory=lambda: SoftwareCustodian(ACKNOWLEDGEMENT))
    fate: Fate = field(default_factory=Fate)
    drawn: list[bytes] = field(default_factory=list)
    lies: bool = False

    def describe(self) -> dict[str, str]:
        return {"label": "vault", "serial": "1"}

    def kept(self, wallet: str) -> SealedSeed | None:
        with self.fate.call():
            return self.custodian.kept.get(wallet)

    def draw(self) -> bytes:
        with self.fate.call():
            self.drawn.append(hashlib.sha256(f"seed {len(self.drawn)}".encode()).digest())
            return self.drawn[-1]

    def seal(self, wallet: str, seed: bytes) -> SealedSeed:
        with self.fate.call():
            return self.custodian.restore_wallet(wallet, bytes(32) if self.lies else seed)

    def xpub(self, sealed: SealedSeed, wallet: str, path: str) -> str:
        with self.fate.call():
            return self.custodian.open_account(sealed, wallet, DerivationPath.parse(path)).xpub

    def keep(self, wallet: str, sealed: SealedSeed) -> None:
        with self.fate.call():
            assert self.custodian.kept.setdefault(wallet, sealed) == sealed


@dataclass
class MemoryWitnesses:
    """`WitnessOffice` in memory: a code is the time-code in digits."""

    enrolled: set[str] = field(default_factory=lambda: {"first-officer", "second-officer"})
    fate: Fate = field(default_factory=Fate)
    used: dict[str, int] = field(default_factory=dict)
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def describe(self) -> dict[str, str]:
        return {"label": "authority", "serial": "2"}

    def is_enrolled(self, name: str) -> bool:
        return name in self.enrolled

    def check(self, name: str, code: str) -> int:
        with self.fate.call():
            if not code.isdigit() or int(code) <= self.used.get(name, 0):
                raise CeremonyError(f"the code of {name} is wrong", field="code")
            self.used[name] = int(code)
            return int(code)

    def sign(self, text: str) -> bytes:
        with self.fate.call():
            r, s = decode_dss_signature(self.key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def public_key_pem(self) -> bytes:
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self.key.public_key().public_bytes(serialization.Encoding.PEM, form)


@dataclass
class Script:
    """`People` who do as they are told: codes count up, shares are written down and read back."""

    typed: list[str] = field(default_factory=list)
    """Words that are typed before any share is read back."""
    codes: list[str] = field(default_factory=list)
    """Codes that are given before counting begins."""
    shares: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    counter: int = 100
    read: int = 0

    def tell(self, sentence: str) -> None:
        self.told.append(sentence)

    def code(self, witness: str, why: str) -> str:
        self.told.append(f"{witness} {why}")
        self.counter += 1
        return self.codes.pop(0) if self.codes else str(self.counter)

    def words(self, what: str) -> str:
        self.told.append(what)
        if self.typed:
            return self.typed.pop(0)
        if not what.startswith("your share"):
            return ""
        self.read += 1
        return self.shares[self.read % len(self.shares)]

    def show_share(self, number: int, count: int, text: str) -> None:
        if number == 1:
            self.shares.clear()
        self.shares.append(text)
        assert len(self.shares) == number <= count

"""Carrying a ceremony out: what is asked of whom in which order, and what may be kept when.

Rules held here:
- Everything that can be checked is checked before a witness gives a code: tokens, wallet, witnesses, the plan itself.
- Nothing of the wallet is kept until every witness has closed the ceremony with a second code. Until then stopping it,
  in whatever way, leaves only a note that it was begun.
- From then on the order is: transcript signed, journal, seed into the vault token, transcript published. A run that died
  in between is finished by the next one from the journal, after the transcript's signature was checked.
- A seed or a share is never written, logged or put into an error. Python's copies of both stay in this process until it
  ends (`docs/concepts/keys.md`), so a ceremony is a process of its own.
- What the token sealed is opened by it once more, and its accounts compared with those that the transcript states.
"""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from hsm.ceremony.accounts import AccountFacts, facts_of
from hsm.ceremony.journal import Entry, Journal
from hsm.ceremony.plan import CeremonyPlan, SeedSource
from hsm.ceremony.transcript import Transcript, body_of
from hsm.custodian import SealedSeed
from hsm.errors import CeremonyError, HsmInputError
from hsm.mnemonic import seed_of_words
from hsm.shares import BackupShares, check_share, restore_seed, split_seed

TYPING_TRIES: Final = 3
"""How often words may be typed before the ceremony is stopped."""


class VaultOffice(Protocol):
    """The vault token, in a process of its own."""

    def describe(self) -> dict[str, str]:
        """Return what the token says of itself: label, serial, model, firmware."""
        ...

    def kept(self, wallet: str) -> SealedSeed | None:
        """Return the sealed seed that an earlier ceremony left for a wallet."""
        ...

    def draw(self) -> bytes:
        """Return 32 bytes of the token's random generator."""
        ...

    def seal(self, wallet: str, seed: bytes) -> SealedSeed:
        """Seal a seed for a wallet."""
        ...

    def xpub(self, sealed: SealedSeed, wallet: str, path: str) -> str:
        """Return the extended public key of an account under a sealed seed."""
        ...

    def keep(self, wallet: str, sealed: SealedSeed) -> None:
        """Leave a sealed seed in the token. Repeating it changes nothing."""
        ...


class WitnessOffice(Protocol):
    """The authority token, in a process of its own."""

    def describe(self) -> dict[str, str]:
        """Return what the token says of itself."""
        ...

    def is_enrolled(self, name: str) -> bool:
        """Whether a witness has a factor for ceremonies."""
        ...

    def check(self, name: str, code: str) -> int:
        """Use up a witness's code and return its time-code. Raises CeremonyError for a wrong or used one."""
        ...

    def sign(self, text: str) -> bytes:
        """Sign a transcript's body with the audit-checkpoint key."""
        ...

    def public_key_pem(self) -> bytes:
        """Return that key's public half."""
        ...


class People(Protocol):
    """Those in the room."""

    def tell(self, sentence: str) -> None:
        """Show a sentence to everybody."""
        ...

    def code(self, witness: str, why: str) -> str:
        """Ask a witness for a code."""
        ...

    def words(self, what: str) -> str:
        """Ask for words that nobody else may see."""
        ...

    def show_share(self, number: int, count: int, text: str) -> None:
        """Show one share to its holder alone, until he says that it is written down."""
        ...


@dataclass(frozen=True, slots=True)
class Ceremony:
    """One plan, its offices, people and journal. `now` is the host's clock, UTC."""

    plan: CeremonyPlan
    vault: VaultOffice
    witnesses: WitnessOffice
    people: People
    journal: Journal
    now: Callable[[], datetime]

    def check(self) -> Entry | None:
        """Check everything that can be checked and change nothing; return how far an earlier run came.

        Raises CeremonyError for the first thing that stands in the way.
        """
        plan = self.plan
        if self.journal.transcript_file.exists():
            raise CeremonyError(f"ceremony {plan.ceremony} is over: {self.journal.transcript_file}", field="ceremony")
        entry = self.journal.read()
        if entry is not None and not hmac.compare_digest(entry.plan_digest, plan.digest):
            raise CeremonyError(
                f"ceremony {plan.ceremony} was begun with another plan: give this one a name of its own",
                field="ceremony",
            )
        kept = self.vault.kept(plan.wallet)
        if kept is not None and not (entry is not None and entry.is_kept and entry.sealed == kept.envelope.hex()):
            raise CeremonyError(f"wallet {plan.wallet} has a seed already: choose another wallet id", field="wallet")
        lacking = [name for name in plan.witnesses if not self.witnesses.is_enrolled(name)]
        if lacking:
            raise CeremonyError(
                f"not enrolled: {', '.join(lacking)}; run `portcullis hsm ceremony witness NAME` for each",
                field="witnesses",
            )
        return entry

    def run(self) -> Transcript:
        """Carry the plan out, or finish what an earlier run closed. Raises CeremonyError, and what a token raises."""
        entry = self.check()
        if entry is not None and entry.is_kept:
            return self._finish(entry)
        tries = 1 if entry is None else entry.tries + 1
        self.journal.write(Entry(self.plan.digest, tries))
        began = self.now()
        opened = self._codes("open", {})
        seed = self._seed()
        facts = self._facts(seed)
        envelope = self.vault.seal(self.plan.wallet, seed).envelope
        sealed = SealedSeed(envelope, restored=self.plan.seed is not SeedSource.NEW)
        self._require_same(sealed, facts)
        shares = self._back_up(seed)
        closed = self._codes("close", opened)
        fields = {
            "plan": self.plan.as_json(),
            "plan_digest": self.plan.digest,
            "tries": tries,
            "began_at": _text(began),
            "closed_at": _text(self.now()),
            "vault": self.vault.describe(),
            "authority": self.witnesses.describe(),
            "seed_bytes": len(seed),
            "sealed_sha256": hashlib.sha256(sealed.envelope).hexdigest(),
            "accounts": [fact.as_json() for fact in facts],
            "share_set": None if shares is None else shares.identifier,
            "witnesses": [
                {"name": name, "opened": opened[name], "closed": closed[name]} for name in self.plan.witnesses
            ],
        }
        return self._finish(self._closed(fields, sealed, tries))

    def _closed(self, fields: dict[str, Any], sealed: SealedSeed, tries: int) -> Entry:
        body = body_of(fields)
        signed = Transcript(body, self.witnesses.sign(body), self.witnesses.public_key_pem().decode())
        entry = Entry(self.plan.digest, tries, sealed.envelope.hex(), sealed.restored, signed.to_text())
        self.journal.write(entry)
        return entry

    def _finish(self, entry: Entry) -> Transcript:
        transcript = Transcript.parse(entry.transcript)
        said = transcript.verified(self.witnesses.public_key_pem())
        envelope = bytes.fromhex(entry.sealed)
        if (said.get("plan_digest"), said.get("sealed_sha256")) != (
            self.plan.digest,
            hashlib.sha256(envelope).hexdigest(),
        ):
            raise CeremonyError(
                f"{self.journal.file} was altered: keep it for the inquiry and begin under another name"
            )
        self.vault.keep(self.plan.wallet, SealedSeed(envelope, entry.restored))
        self.journal.publish(entry.transcript)
        return transcript

    def _codes(self, what: str, before: dict[str, int]) -> dict[str, int]:
        """Ask every witness for a code; a later one than `before`."""
        self.people.tell(f"Plan {self.plan.digest}: compare it with the one that you were given.")
        given = {}
        for name in self.plan.witnesses:
            given[name] = self.witnesses.check(name, self.people.code(name, f"to {what} ceremony {self.plan.ceremony}"))
            if given[name] <= before.get(name, -1):
                raise CeremonyError(f"{name} gave the opening code again: nothing was kept", field="code")
        return given

    def _seed(self) -> bytes:
        if self.plan.seed is SeedSource.NEW:
            return self.vault.draw()
        return self._typed(self._words if self.plan.seed is SeedSource.WORDS else self._shares)

    def _typed(self, ask: Callable[[], bytes]) -> bytes:
        for left in range(TYPING_TRIES - 1, -1, -1):
            try:
                return ask()
            except HsmInputError as error:
                self.people.tell(f"{error}; {left} tries are left")
        raise CeremonyError("the words were wrong too often: nothing was kept", field="seed")

    def _words(self) -> bytes:
        return seed_of_words(self.people.words("BIP-39 words"), self.people.words("passphrase, or nothing"))

    def _shares(self) -> bytes:
        texts = [self.people.words("share 1")]
        texts += [self.people.words(f"share {place}") for place in range(2, check_share(texts[0], 1) + 1)]
        return restore_seed(texts, self.people.words("passphrase, or nothing"))

    def _facts(self, seed: bytes) -> tuple[AccountFacts, ...]:
        facts = tuple(facts_of(seed, account.path) for account in self.plan.accounts)
        for planned, found in zip(self.plan.accounts, facts, strict=True):
            if planned.first_address not in ("", found.first_address):
                raise CeremonyError(
                    f"{found.path} begins with {found.first_address}, not with {planned.first_address}: other words, or "
                    "another passphrase; nothing was kept",
                    field="first_address",
                )
        return facts

    def _require_same(self, sealed: SealedSeed, facts: tuple[AccountFacts, ...]) -> None:
        for fact in facts:
            if fact.xpub and self.vault.xpub(sealed, self.plan.wallet, fact.path) != fact.xpub:
                raise CeremonyError("the token sealed another seed than it was given: do not use it; nothing was kept")

    def _back_up(self, seed: bytes) -> BackupShares | None:
        if self.plan.backup is None or self.plan.scheme is None:
            return None
        shares = split_seed(seed, self.plan.scheme)
        for number, text in enumerate(shares.texts, start=1):
            self.people.show_share(number, len(shares.texts), text)
        if self.plan.backup.read_back and not hmac.compare_digest(self._typed(self._read_back), seed):
            raise CeremonyError("the shares that were typed are of another seed: nothing was kept", field="shares")
        return shares

    def _read_back(self) -> bytes:
        needed = 0 if self.plan.backup is None else self.plan.backup.threshold
        return restore_seed([self.people.words(f"your share, holder {place}") for place in range(1, needed + 1)])


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds")

"""Detectors change without a restart: a changed directory is read, compared with the set in force, and put in force or not.

Rules (design D4, D6):

- A set with a broken file is refused whole, with file and field; the set in force stays, and health says so.
- What tightens or changes nothing that counts is put in force at once. What loosens waits for a quorum on a document that
  lists every change that loosens; the votes are verified here again before the set is used, because a row alone is never
  authority.
- The files of a set in force are kept, so that a restart goes on with that set and not with whatever the directory holds.
  What is kept is rows, which the API's role can forge: it is used only when it digests to what the sequence names, and
  sees all that the directory's or the shipped set sees, or votes that are verified here let it count. Otherwise the
  directory is weighed against the set that ships with this version: it is never adopted as at a first start.
- An approval puts its set in force once: after another set was, going back to it takes a quorum again.
- A directory that changes while it is read is read again; nothing here runs on the event loop.
"""

import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import structlog

from rules.comparison import Comparison, compare
from rules.errors import RulesError
from rules.loader import DEFAULT_DIRECTORY, MAX_FILE_BYTES, MAX_FILES, DetectorSet, load_directory
from service.domain.approval import ApprovalState, Draft, Item, parse, same
from service.domain.authorisation import check_document
from service.domain.blinding import RULES, rules_items
from service.domain.errors import ApprovalError, InputError, NotFoundError, PortcullisError, UnavailableError
from service.domain.events import ApprovalRequested
from service.domain.requests import requested_entry
from service.domain.timeline import Entry
from service.ports.store.approvals import ApprovalRow
from service.ports.store.unit import Database, UnitOfWork

_SUFFIXES: Final = (".yaml", ".yml")
_NAME: Final = re.compile(r"[a-z0-9_][a-z0-9._-]{0,99}\.yaml")
"""What a kept file may be called: rows name files, and must not name any elsewhere."""
_WHY: Final = "The detectors' directory changed, and the new set sees less in places."
_DECIDED: Final = (ApprovalState.APPROVED, ApprovalState.EXECUTED)
_PENDING: Final = (ApprovalState.WAITING, ApprovalState.APPROVED)
_log = structlog.get_logger(__name__)

_Stamp = tuple[tuple[str, int, int], ...]
_Files = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RuleState:
    """How the sets stand: the digest in force, what waits, and what is wrong."""

    in_force: str
    waiting: str | None = None
    """The digest of a set that loosens and waits for its quorum."""
    approval: str | None = None
    finding: str | None = None
    """Why the directory's set is not in force; None when it is, or only waits."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A set that loosens."""

    detectors: DetectorSet
    files: _Files
    comparison: Comparison


class Rulebook:
    """The set of detectors in force, and the directory it comes from. One thread at a time may call `open` and `look`."""

    def __init__(self, db: Database, directory: Path, votes_key_pem: Callable[[], bytes]) -> None:
        self._db = db
        self._directory = directory
        self._votes_key_pem = votes_key_pem
        self._seen: _Stamp | None = None
        self._candidate: _Candidate | None = None
        self._in_force: DetectorSet | None = None
        self._state = RuleState("")

    @property
    def in_force(self) -> DetectorSet:
        """The set in force. Raises NotFoundError before `open`."""
        if self._in_force is None:
            raise NotFoundError("no set of detectors was read yet")
        return self._in_force

    @property
    def state(self) -> RuleState:
        """How the sets stand now."""
        return self._state

    def open(self) -> DetectorSet:
        """Return the set to begin with: the directory's, or the one in force while the directory's waits for a quorum.

        A set that rows name and nothing vouches for does not count; what ships is in force until the directory's may be.

        Raises RulesError for a broken directory, UnavailableError.
        """
        files = _files_in(self._directory)
        loaded = _loaded(files)
        with self._db.begin() as uow:
            known = uow.blinding.rules_in_force()
            kept = None if known is None else uow.blinding.files_of(known)
        self._seen = _stamp(self._directory)
        if known is None or known == loaded.digest():
            self._adopt(loaded, files)
            return self.in_force
        try:
            before = _kept(known, kept)
            self._require_vouched(before, loaded)
            self._use(before, None)
        except RulesError as error:
            self._fall_back(known, error)
        self._weigh(loaded, files)
        return self.in_force

    def _fall_back(self, known: str, error: RulesError) -> None:
        """Go on with what ships with this version: what was in force is not there, or nothing vouches for it."""
        _log.error("rules.in_force_not_used", digest=known, reason=str(error))
        files = _files_in(DEFAULT_DIRECTORY)
        self._adopt(_loaded(files), files)

    def _require_vouched(self, kept: DetectorSet, loaded: DetectorSet) -> None:
        """Raise RulesError unless a kept set sees all that the directory's or the shipped one sees, or was approved."""
        if not compare(loaded, kept).loosens or not compare(load_directory(DEFAULT_DIRECTORY), kept).loosens:
            return
        with self._db.begin() as uow:
            newest = uow.blinding.newest(RULES, kept.digest())
            if newest is None or not self._was_authorised(uow, uow.approvals.row(newest), kept):
                raise RulesError("it sees less than the set that ships, and no votes that hold today let it count")

    def _was_authorised(self, uow: UnitOfWork, standing: ApprovalRow, kept: DetectorSet) -> bool:
        """Say whether votes let a kept set follow the one that their document names, however long ago."""
        try:
            document = parse(standing.document)
            old = str(document.what[0].params.get("old"))
            items = rules_items(compare(_kept(old, uow.blinding.files_of(old)), kept))
        except (InputError, RulesError) as error:
            _log.warning("rules.not_authorised", approval=standing.id, reason=str(error))
            return False
        return self._is_authorised(uow, standing, items, at=min(uow.now, document.execute_by))

    def look(self) -> DetectorSet | None:
        """Look at the directory and at what was approved; return a set that is in force from now on, if that changed."""
        before = self.in_force
        try:
            self._look()
        except UnavailableError as error:
            _log.warning("rules.not_looked", reason=str(error))
        return None if self.in_force is before else self.in_force

    def _look(self) -> None:
        stamp = _stamp(self._directory)
        if stamp != self._seen:
            try:
                files = _files_in(self._directory)
                loaded = _loaded(files)
            except RulesError as error:
                if stamp == _stamp(self._directory):
                    self._seen = stamp
                    self._refuse(f"the detectors' directory is refused: {error}")
                return
            if stamp != _stamp(self._directory):
                return  # it changed while it was read: look again next time
            self._weigh(loaded, files)
            self._seen = stamp
        elif self._candidate is not None:
            self._ask_or_adopt(self._candidate, ask=False)

    def _weigh(self, loaded: DetectorSet, files: _Files) -> None:
        """Put a set that was read in force, or ask for it."""
        self._candidate = None
        if loaded.digest() == self.in_force.digest():
            self._state = RuleState(loaded.digest())
            return
        comparison = compare(self.in_force, loaded)
        if not comparison.loosens:
            self._adopt(loaded, files)
            return
        self._candidate = _Candidate(loaded, files, comparison)
        self._ask_or_adopt(self._candidate, ask=True)

    def _ask_or_adopt(self, candidate: _Candidate, *, ask: bool) -> None:
        """Use the set when its request was approved; ask for it where nobody has, or again where `ask`."""
        digest = candidate.comparison.new_digest
        try:
            items = rules_items(candidate.comparison)
            with self._db.begin() as uow:
                uow.lock(f"rules:{digest}", with_api=True)
                newest = uow.blinding.newest(RULES, digest)
                standing = None if newest is None else uow.approvals.row(newest)
                approved = standing is not None and self._is_authorised(uow, standing, items, at=uow.now)
                if approved and standing is not None:
                    uow.record(_adopted_entry(uow, standing, candidate))
                    uow.blinding.adopted(digest, standing.id)
                elif standing is None or (ask and standing.state not in _PENDING):
                    standing = _propose(uow, Draft(items, _WHY, "portcullis"))
        except UnavailableError:
            raise
        except PortcullisError as error:
            self._refuse(f"the detectors' directory loosens, and no quorum can be asked: {error}", digest)
            return
        if approved:
            self._adopt(candidate.detectors, candidate.files)
        elif standing.state in _PENDING:
            self._state = RuleState(self.in_force.digest(), digest, standing.id)
        else:
            self._refuse(
                f"the detectors' directory loosens, and request {standing.id} was {standing.state.value}: change the "
                "directory back, or touch a file to ask again"
            )

    def _is_authorised(self, uow: UnitOfWork, standing: ApprovalRow, items: Sequence[Item], *, at: datetime) -> bool:
        """Say whether the votes on a request let exactly this be done at that time."""
        if standing.state not in _DECIDED or uow.blinding.superseded(standing.id):
            return False
        evidence = uow.approvals.evidence(standing.id)
        try:
            document = check_document(evidence, public_key_pem=self._votes_key_pem(), now=at)
        except ApprovalError as error:
            _log.warning("rules.not_authorised", approval=standing.id, reason=str(error))
            return False
        return len(items) == len(document.what) and all(map(same, items, document.what))

    def _adopt(self, detectors: DetectorSet, files: _Files) -> None:
        with self._db.begin() as uow:
            uow.blinding.keep_files(detectors.digest(), files)
            uow.blinding.adopted(detectors.digest(), None)
        self._candidate = None
        self._use(detectors, None)
        _log.info("rules.in_force", digest=detectors.digest(), detectors=len(detectors))

    def _use(self, detectors: DetectorSet, finding: str | None) -> None:
        self._in_force = detectors
        self._state = RuleState(detectors.digest(), finding=finding)

    def _refuse(self, finding: str, waiting: str | None = None) -> None:
        if finding != self._state.finding:
            _log.error("rules.refused", reason=finding)
        self._state = RuleState(self.in_force.digest(), waiting, finding=finding)


def _propose(uow: UnitOfWork, draft: Draft) -> ApprovalRow:
    document = uow.approvals.propose(draft)
    uow.record(requested_entry(document), ApprovalRequested(document.id))
    return uow.approvals.row(document.id)


def _adopted_entry(uow: UnitOfWork, standing: ApprovalRow, candidate: _Candidate) -> Entry:
    return Entry(
        kind="rules.adopted",
        at=uow.now,
        subject=candidate.comparison.new_digest,
        sentence=f"A set of detectors that loosens is in force, approved by {standing.id}",
        by=standing.requester,
        facts={"approval": standing.id, "digest": standing.digest, "comparison": candidate.comparison.digest},
    )


def _stamp(directory: Path) -> _Stamp | None:
    """Return names, sizes and times of the files, None when the directory cannot be read."""
    found = []
    try:
        for one in directory.iterdir():
            if one.suffix.lower() in _SUFFIXES:
                facts = one.stat()
                found.append((one.name, facts.st_size, facts.st_mtime_ns))
    except OSError:
        return None
    return tuple(sorted(found))


def _files_in(directory: Path) -> _Files:
    """Return what the loader would read, as text. Raises RulesError as the loader does."""
    try:
        names = sorted(one for one in directory.iterdir() if one.suffix.lower() in _SUFFIXES)
        found = {one.name: _head(one) for one in names[: MAX_FILES + 1] if not one.name.startswith(".")}
        return {name: content.decode() for name, content in found.items()}
    except (OSError, UnicodeDecodeError):
        load_directory(directory)  # says which file, and why
        raise


def _head(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(MAX_FILE_BYTES + 1)


def _kept(digest: str, files: _Files | None) -> DetectorSet:
    """Return the kept set of a digest. Raises RulesError when it is not there, or is another."""
    if files is None:
        raise RulesError("its files were never kept")
    strange = [name for name in files if not _NAME.fullmatch(name)]
    if strange:
        raise RulesError(f"{strange[0]!r} is no name of a kept file")
    found = _loaded(files)
    if found.digest() != digest:
        raise RulesError("the files that are kept for it are those of another set")
    return found


def _loaded(files: _Files) -> DetectorSet:
    """Return the set of exactly these files. Raises RulesError."""
    with tempfile.TemporaryDirectory(prefix="portcullis-rules-") as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content.encode())
        return load_directory(Path(folder))

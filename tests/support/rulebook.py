"""A directory of detectors with a process that has it open, for tests of what is in force."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import yaml
from sqlalchemy import insert

from rules.engine import ENGINE_VERSION
from rules.loader import DEFAULT_DIRECTORY
from service.domain.approval import ActionDocument
from service.domain.ids import ApprovalId
from service.flow.rulebook import Rulebook
from service.store.tables.activity import learning
from tests.support.authority import House
from tests.support.response import CONTAINMENT, rows, superuser_do

API = "portcullis_api"


@dataclass
class Desk:
    """A directory of three detectors, and a process that has it open."""

    house: House
    folder: Path
    book: Rulebook

    def again(self) -> Rulebook:
        """The same installation after a restart; as far as the sequence tells."""
        digest = self.book.in_force.digest()
        seq = 1 + max((row.seq for row in rows(self.house, learning)), default=0)
        row = {"seq": seq, "kind": "rules", "payload": f'{{"digest": "{digest}"}}'.encode()}
        made = insert(learning).values(
            **row, engine_version=ENGINE_VERSION, settings_digest="", at=self.house.clock.now()
        )
        superuser_do(self.house, made)
        found = book_of(self.house, self.folder)
        found.open()
        return found

    def change(self, detector: str, **fields: object) -> None:
        file = self.folder / f"{detector}.yaml"
        told = yaml.safe_load(file.read_text())
        file.write_text(yaml.safe_dump(told | fields))

    def waiting(self) -> ActionDocument:
        state = self.book.state
        assert state.approval is not None, state
        with self.house.database(CONTAINMENT).begin() as uow:
            return uow.approvals.document(ApprovalId(state.approval))

    def approve(self) -> None:
        document = self.waiting()
        for voter in list(self.house.phones)[1:3]:
            self.house.vote(document, voter)


def book_of(house: House, folder: Path) -> Rulebook:
    return Rulebook(house.database(API), folder, lambda: house.office.public_key_pem)


def desk_in(house: House, folder: Path) -> Desk:
    """Open a directory of three live detectors."""
    folder.mkdir()
    for file in sorted(DEFAULT_DIRECTORY.glob("*.yaml")):
        if yaml.safe_load(file.read_text())["status"] == "live" and len(list(folder.iterdir())) < 3:
            shutil.copy(file, folder)
    book = book_of(house, folder)
    book.open()
    return Desk(house, folder, book)


def names(desk: Desk) -> list[str]:
    return sorted(file.stem for file in desk.folder.glob("*.yaml"))

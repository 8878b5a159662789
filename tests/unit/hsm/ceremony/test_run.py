"""A ceremony from end to end in memory: kept whole or not at all, wherever it stops."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hsm.ceremony.journal import Journal
from hsm.ceremony.plan import read_plan
from hsm.ceremony.run import Ceremony
from hsm.ceremony.transcript import Transcript
from hsm.custodian import SealedSeed
from hsm.errors import CeremonyError, HsmInputError, StatementError
from hsm.shares import restore_seed
from tests.support.ceremony import AT, PLAN, Fate, MemoryVault, MemoryWitnesses, Script, Stopped, plan_text

WORDS = " ".join(["abandon"] * 11 + ["about"])
FIRST = "0x9858EfFD232B4033E47d90003D41EC34EcaEda94"


@dataclass
class House:
    folder: Path
    vault: MemoryVault = field(default_factory=MemoryVault)
    witnesses: MemoryWitnesses = field(default_factory=MemoryWitnesses)
    people: Script = field(default_factory=Script)

    def ceremony(self, text: str = PLAN) -> Ceremony:
        plan = read_plan(text)
        journal = Journal(self.folder, plan.ceremony)
        return Ceremony(plan, self.vault, self.witnesses, self.people, journal, lambda: AT)

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.folder.glob("*")}

    def stop_at(self, point: int | None) -> None:
        self.vault.fate = self.witnesses.fate = Fate(point)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "ceremonies")


def test_a_new_seed_is_drawn_backed_up_witnessed_and_kept(house: House) -> None:
    transcript = house.ceremony().run()
    said = transcript.verified(house.witnesses.public_key_pem())
    (seed,) = house.vault.drawn
    kept = house.vault.kept("treasury")
    assert kept is not None
    assert not kept.restored
    assert [account["xpub"] for account in said["accounts"]][:2] == [
        house.vault.xpub(kept, "treasury", path) for path in ("m/84h/0h/0h", "m/44h/60h/0h")
    ]
    assert said["accounts"][0]["first_address"].startswith("bc1q")
    assert said["accounts"][2]["xpub"] == ""
    assert said["plan_digest"] == read_plan(PLAN).digest
    assert [(w["name"], w["opened"] < w["closed"]) for w in said["witnesses"]] == [
        ("first-officer", True),
        ("second-officer", True),
    ]
    assert restore_seed(house.people.shares[1:]) == seed
    written = b"".join(house.files().values()).decode()
    assert list(house.files()) == ["treasury-2026.transcript.json"]
    assert seed.hex() not in written
    assert not any(share.split()[5] + " " + share.split()[6] in written for share in house.people.shares)
    with pytest.raises(CeremonyError, match="is over"):
        house.ceremony().run()


def test_a_dry_run_asks_nobody_and_changes_nothing(house: House) -> None:
    assert house.ceremony().check() is None
    assert (house.people.told, house.files(), house.vault.drawn, house.vault.custodian.kept) == ([], {}, [], {})


def test_wherever_it_stops_it_is_kept_whole_or_not_at_all(house: House) -> None:
    point, text = 0, PLAN
    while True:
        point += 1
        text = plan_text(ceremony=f"ceremony: c{point}", wallet=f"wallet: w{point}")
        house.people = Script(counter=1000 * point)
        house.stop_at(point)
        try:
            house.ceremony(text).run()
        except Stopped:
            transcript_file = house.ceremony(text).journal.transcript_file
            assert not transcript_file.exists()
            house.stop_at(None)
            before, told = house.vault.kept(f"w{point}"), len(house.people.told)
            transcript = house.ceremony(text).run()
            said = transcript.verified(house.witnesses.public_key_pem())
            assert transcript_file.read_text() == transcript.to_text()
            kept = house.vault.kept(f"w{point}")
            assert kept is not None
            assert said["accounts"][0]["xpub"] == house.vault.xpub(kept, f"w{point}", "m/84h/0h/0h")
            if before is not None:
                assert (kept, len(house.people.told)) == (before, told), "what was kept is finished without a person"
        else:
            break
    assert point > 20


def test_restored_words_give_the_address_that_was_expected(house: House) -> None:
    text = plan_text(ceremony="ceremony: back", wallet="wallet: old", seed="seed: words", backup="")
    text = text.replace("- path: m/44h/60h/0h", f"- path: m/44h/60h/0h\n    first_address: '{FIRST}'")
    house.people.typed = [WORDS.replace("about", "aboot"), "", WORDS, "not the passphrase"]
    with pytest.raises(CeremonyError, match="another passphrase; nothing was kept"):
        house.ceremony(text).run()
    assert house.vault.kept("old") is None
    assert any("word 12" in sentence and "2 tries are left" in sentence for sentence in house.people.told)
    house.people.typed = [WORDS, ""]
    said = house.ceremony(text).run().verified(house.witnesses.public_key_pem())
    assert (said["accounts"][1]["first_address"], said["tries"]) == (FIRST, 2)
    kept = house.vault.kept("old")
    assert kept is not None
    assert kept.restored


def test_shares_restore_the_same_addresses_in_a_fresh_token(house: House, tmp_path: Path) -> None:
    said = house.ceremony().run().verified(house.witnesses.public_key_pem())
    fresh = House(tmp_path / "elsewhere")
    fresh.people.typed = [*house.people.shares[:2], ""]
    text = plan_text(seed="seed: shares", backup="")
    again = fresh.ceremony(text).run().verified(fresh.witnesses.public_key_pem())
    assert again["accounts"] == said["accounts"]
    assert again["vault"] == said["vault"]


def test_words_that_stay_wrong_stop_it(house: House) -> None:
    house.people.typed = ["abandon"] * 6
    with pytest.raises(CeremonyError, match="too often"):
        house.ceremony(plan_text(seed="seed: words", backup="")).run()
    assert house.vault.custodian.kept == {}


def test_shares_that_were_written_down_wrongly_keep_nothing(house: House) -> None:
    house.people.typed = ["mistyped", "words"] * 3
    with pytest.raises(CeremonyError, match="too often"):
        house.ceremony().run()
    assert house.vault.custodian.kept == {}


@pytest.mark.parametrize("codes", [["x"], ["101", "0"], ["101", "102", "103", "102"]])
def test_a_wrong_or_repeated_code_keeps_nothing(house: House, codes: list[str]) -> None:
    house.people.codes = codes
    with pytest.raises(CeremonyError, match="code"):
        house.ceremony().run()
    assert house.vault.custodian.kept == {}
    assert list(house.files()) == ["treasury-2026.journal.json"]


def test_what_stands_in_the_way_is_said_before_anybody_is_asked(house: House) -> None:
    house.witnesses.enrolled = {"first-officer"}
    with pytest.raises(CeremonyError, match="not enrolled: second-officer"):
        house.ceremony().run()
    house.witnesses.enrolled.add("second-officer")
    house.vault.custodian.kept["treasury"] = SealedSeed(b"of another day")
    with pytest.raises(CeremonyError, match="has a seed already"):
        house.ceremony().run()
    assert house.people.told == []


def test_a_begun_ceremony_takes_no_other_plan(house: House) -> None:
    house.people.codes = ["x"]
    with pytest.raises(CeremonyError):
        house.ceremony().run()
    with pytest.raises(CeremonyError, match="another plan"):
        house.ceremony(plan_text(purpose="purpose: Something else.")).run()


def test_a_token_that_sealed_another_seed_is_caught(house: House) -> None:
    house.vault.lies = True
    with pytest.raises(CeremonyError, match="another seed"):
        house.ceremony().run()


def test_an_altered_journal_is_not_finished(house: House) -> None:
    house.stop_at(None)
    house.ceremony().run()
    calls = house.vault.fate.passed
    for altered in ("sealed", "transcript"):
        text = plan_text(ceremony=f"ceremony: {altered}", wallet=f"wallet: {altered}")
        house.people = Script(counter=5000 + len(altered) * 1000)
        house.stop_at(calls - 1)
        with pytest.raises(Stopped):
            house.ceremony(text).run()
        journal = house.ceremony(text).journal.file
        body = journal.read_text()
        if altered == "sealed":
            place = body.index('"sealed":"') + 12
            body = body[:place] + ("0" if body[place] != "0" else "1") + body[place + 1 :]
        else:
            body = body.replace("Something", "x").replace("second-officer", "third-officer")
        journal.write_text(body)
        house.stop_at(None)
        with pytest.raises((CeremonyError, StatementError)):
            house.ceremony(text).run()
        assert house.vault.kept(altered) is None
    journal.write_text("{")
    with pytest.raises(CeremonyError, match="damaged"):
        house.ceremony(text).check()


def test_a_folder_that_cannot_be_written_stops_it_before_anybody_is_asked(house: House) -> None:
    house.folder.parent.mkdir(exist_ok=True)
    house.folder.write_text("a file is in the way")
    with pytest.raises(CeremonyError, match="cannot"):
        house.ceremony().run()
    assert house.people.told == []


def test_a_transcript_holds_under_its_key_alone(house: House) -> None:
    transcript = house.ceremony().run()
    assert Transcript.parse(transcript.to_text()) == transcript
    with pytest.raises(StatementError):
        transcript.verified(MemoryWitnesses().public_key_pem())
    forged = Transcript(
        transcript.body.replace("treasury", "treasurf"), transcript.signature, transcript.public_key_pem
    )
    with pytest.raises(StatementError):
        forged.verified(house.witnesses.public_key_pem())
    other = '{"tag":"portcullis/audit/v1"}'
    with pytest.raises(StatementError, match="not a ceremony"):
        Transcript(other, house.witnesses.sign(other), "").verified(house.witnesses.public_key_pem())
    for text in ("", "{}", "[]", '{"body":"","signature":"zz","public_key":""}', "x" * 300_000):
        with pytest.raises(HsmInputError):
            Transcript.parse(text)

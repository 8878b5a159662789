"""A person hears over his own channels what his code was used for: a captured API cannot swap documents unnoticed."""

from collections.abc import Mapping

import pytest

from service.domain.approval import ActionDocument, check_code, step_item
from service.domain.errors import ApprovalError, NotFoundError
from service.domain.ids import ApprovalId, IncidentId, PersonId
from service.flow.notify import telling
from service.flow.routes import jobs_of
from service.store.tables.attention import messages
from service.store.tables.proof import outbox
from tests.support.authority import House, a_step
from tests.support.response import CONTAINMENT, deliver_all, equip, fake_channels, rows


@pytest.fixture
def incident(ready: House) -> IncidentId:
    return equip(ready)


def told(house: House, event: str) -> list[Mapping[str, str]]:
    return [row.payload for row in rows(house, outbox, event=event)]


def tell_voter(house: House, document: ActionDocument, person: PersonId) -> None:
    telling.voted(house.database(CONTAINMENT), house.office.public_key_pem, document.id, person)


@pytest.mark.parametrize(("decision", "word"), [("approve", "approved"), ("deny", "denied")])
def test_a_voter_is_told_which_document_his_code_was_used_for(
    ready: House, incident: IncidentId, decision: str, word: str
) -> None:
    assert incident
    person = next(iter(ready.phones))
    shown = ready.ask(step_item(a_step(value="hot-1"), "Sweep hot-1."))
    voted_on = ready.ask(step_item(a_step(value="hot-2"), "Sweep hot-2 to the thief."))
    ready.vote(voted_on, person, decision)
    (payload,) = told(ready, "vote_cast")
    assert jobs_of("vote_cast", payload) == ("notify.voted",)
    for _ in range(2):
        telling.voted(
            ready.database(CONTAINMENT),
            ready.office.public_key_pem,
            ApprovalId(payload["approval_id"]),
            PersonId(payload["person_id"]),
        )
    channels = fake_channels()
    deliver_all(ready, channels)
    (letter,) = channels["page"].letters
    assert letter.recipient == "pager-1"
    assert f"{word} {voted_on.id}" in letter.subject
    assert "Sweep hot-2 to the thief." in letter.body
    assert "Sweep hot-1." not in letter.body
    assert check_code(voted_on.digest, person) in letter.body
    assert check_code(shown.digest, person) not in letter.body
    assert f"{ready.clock.now():%Y-%m-%d %H:%M}" in letter.body


def test_a_vote_that_was_not_cast_has_no_receipt(ready: House, incident: IncidentId) -> None:
    assert incident
    one, two, *_ = ready.phones
    document = ready.ask(step_item(a_step(), "Sweep."))
    ready.vote(document, one)
    with pytest.raises(ApprovalError, match="no vote"):
        tell_voter(ready, document, two)
    assert rows(ready, messages) == []


def test_a_person_is_told_by_mail_too_when_his_factor_is_shown_and_confirmed(
    ready: House, incident: IncidentId
) -> None:
    assert incident
    person = next(iter(ready.phones))
    mine = [payload for payload in told(ready, "factor_changed") if payload["person_id"] == person]
    assert [payload["what"] for payload in mine] == ["shown", "confirmed"]
    for payload in (*mine, *mine):
        assert jobs_of("factor_changed", payload) == ("notify.factor",)
        telling.factor(ready.database(CONTAINMENT), person, payload["factor_id"], payload["what"])
    channels = fake_channels()
    deliver_all(ready, channels)
    for name, recipient in (("page", "pager-1"), ("mail", "p0@example.org")):
        letters = channels[name].letters
        assert [letter.recipient for letter in letters] == [recipient] * 2
        assert ["shown" in letter.subject for letter in letters].count(True) == 1
        assert ["confirmed" in letter.subject for letter in letters].count(True) == 1


@pytest.mark.parametrize(("whose", "what"), [(1, "shown"), (0, "stolen")])
def test_an_invented_change_of_a_factor_writes_to_nobody(
    ready: House, incident: IncidentId, whose: int, what: str
) -> None:
    assert incident
    people = list(ready.phones)
    factor_id = next(p["factor_id"] for p in told(ready, "factor_changed") if p["person_id"] == people[0])
    with pytest.raises(NotFoundError, match="no factor"):
        telling.factor(ready.database(CONTAINMENT), people[whose], factor_id, what)
    assert rows(ready, messages) == []

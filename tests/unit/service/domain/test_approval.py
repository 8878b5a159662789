"""The action document: one spelling, one digest, and sentences that cannot lie about it."""

import base64
import dataclasses
import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.approval import (
    ActionDocument,
    Draft,
    Item,
    Subject,
    check_code,
    is_check_code,
    lists,
    one_line,
    parse,
    propose,
    says,
    sentences,
    step_item,
    targets_of,
)
from service.domain.canonical import canonical
from service.domain.errors import ApprovalError, InputError
from service.domain.plan import Effect, Step
from service.domain.policy import default_policy
from service.domain.quorum import Quorum, Role
from service.domain.requests import escalation_item, message_item
from tests.support.authority import a_step

NOW = datetime(2026, 11, 22, 16, 0, tzinfo=UTC)
POLICY = default_policy({"sweep_to_safe": Quorum.of(2, Role.APPROVER) & Quorum.of(1, Role.TREASURY)})


def an_item(**changes: object) -> Item:
    return msgspec.structs.replace(step_item(a_step(), "Sweep account hot-1."), **changes)


def test_what_is_stored_is_canonical_and_comes_back_the_same() -> None:
    document = propose(Draft([an_item()], "It drains.", "portcullis", incident="inc_1"), POLICY, NOW)
    assert document.text.encode() == canonical(json.loads(document.text))
    assert parse(document.text) == document
    assert document.digest == hashlib.sha256(b"portcullis/approval/v1\x00" + document.text.encode()).hexdigest()
    assert document.subject is Subject.STEPS


def test_the_expiries_and_quorums_are_the_policys() -> None:
    document = propose(Draft([an_item()], "It drains.", "portcullis"), POLICY, NOW)
    assert document.approve_by - NOW == timedelta(seconds=POLICY.approve_within_s)
    assert document.execute_by - document.approve_by == timedelta(seconds=POLICY.execute_within_s)
    assert [(p.count, p.role) for p in document.quorum["sweep_to_safe"]] == [(2, Role.APPROVER), (1, Role.TREASURY)]
    assert document.policy.digest == POLICY.digest


def test_two_documents_for_the_same_are_two_documents() -> None:
    draft = Draft([an_item()], "It drains.", "portcullis")
    assert propose(draft, POLICY, NOW).digest != propose(draft, POLICY, NOW).digest


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace('"amounts"', ' "amounts"'),
        lambda text: text[:-1] + ',"zzz":1}',
        lambda text: text.replace("portcullis/approval/v1", "portcullis/approval/v2"),
        lambda text: text.replace('"nonce":"', '"nonce":"00'),
        lambda text: text.replace('{"amounts":{}', '{"amounts":{},"amounts":{}'),
        lambda text: text.replace("Sweep account", "Sweep\\naccount"),
        lambda text: text.replace("Sweep account", "Sweep \u202eaccount"),
        lambda text: text.replace('"targets":["account', '"targets":["wallet'),
        lambda text: text.replace("00:00Z", "00:00+00:00"),
        lambda text: text.replace('"amount_base_units":"12"', '"amount_base_units":12.5'),
        lambda text: "[" * 100_000,
        lambda text: "",
        lambda text: "x" * 300_000,
    ],
)
def test_any_other_spelling_or_content_is_refused(spoil: Callable[[str], str]) -> None:
    text = propose(Draft([an_item()], "It drains.", "portcullis"), POLICY, NOW).text
    spoiled = spoil(text)
    assert spoiled != text
    with pytest.raises(InputError):
        parse(spoiled)


def test_a_mixture_of_subjects_is_refused() -> None:
    with pytest.raises(InputError, match="mixture"):
        propose(Draft([an_item(), escalation_item("inc_1", 2)], "Both.", "portcullis"), POLICY, NOW)


def test_an_action_that_the_policy_does_not_know_cannot_be_asked_for() -> None:
    with pytest.raises(ApprovalError, match="no quorum for raise_gate"):
        propose(Draft([an_item(action="raise_gate")], "Up.", "portcullis"), POLICY, NOW)


def test_a_hostile_title_becomes_one_harmless_line() -> None:
    document = propose(Draft([an_item(sentence="a\n\u202eb\x1b[31m")], "why\r\nnot", "portcullis"), POLICY, NOW)
    assert (document.what[0].sentence, document.why) == ("a b [31m", "why not")


@pytest.mark.parametrize("hostile", ["\x1b[30A\x1b[J1. Nothing.", "nothing\n1. Nothing.", "\u202enothing", "x" * 2001])
@pytest.mark.parametrize(
    "hide",
    [
        lambda document, text: {"amounts": {text: "0"}},
        lambda document, text: {"amounts": {"balance": text}},
        lambda document, text: {"quorum": document.quorum | {text: ()}},
        lambda document, text: {"preconditions": (text,)},
        lambda document, text: _with_item(document, target=document.what[0].target | {text: "x"}),
        lambda document, text: _with_item(document, target=document.what[0].target | {"zone": text}),
    ],
    ids=["name of an amount", "amount", "name of a quorum", "precondition", "name of a target's field", "target"],
)
def test_no_text_of_a_document_can_rewrite_what_is_shown(
    hide: Callable[[ActionDocument, str], dict[str, object]], hostile: str
) -> None:
    document = propose(Draft([an_item()], "It drains.", "portcullis"), POLICY, NOW)
    with pytest.raises(InputError, match="printable"):
        msgspec.structs.replace(document, **hide(document, hostile))


def _with_item(document: ActionDocument, **changes: object) -> dict[str, object]:
    what = (msgspec.structs.replace(document.what[0], **changes),)
    return {"what": what, "targets": targets_of(what)}


@pytest.mark.parametrize("moment", ["created", "approve_by", "execute_by"])
def test_a_moment_in_another_zone_is_refused_because_it_would_be_shown_as_utc(moment: str) -> None:
    document = propose(Draft([an_item()], "It drains.", "portcullis"), POLICY, NOW)
    behind = timezone(-timedelta(hours=23, minutes=59))
    for elsewhere in (getattr(document, moment).astimezone(behind), getattr(document, moment).replace(tzinfo=None)):
        with pytest.raises(InputError, match="UTC"):
            msgspec.structs.replace(document, **{moment: elsewhere})


@given(st.text(max_size=3000))
def test_one_line_always_fits_a_document(text: str) -> None:
    assert one_line(text).isprintable()
    assert len(one_line(text)) <= 2000


def test_the_sentences_say_exactly_what_is_done_whatever_the_author_wrote() -> None:
    item = an_item(sentence="Nothing to see here.", params={"destination": "eip155:1:0xthief"})
    shown = "\n".join(sentences(propose(Draft([item], "Trust me.", "per_1"), POLICY, NOW)))
    assert "0xthief" in shown
    assert "sweep_to_safe (irreversible)" in shown
    assert "2 x approver and 1 x treasury" in shown
    assert "Requested by per_1" in shown


def test_the_check_code_is_the_documented_hash() -> None:
    expected = base64.b32encode(hashlib.sha256(b"portcullis/check/v1" + b"ab" * 32 + b"per_1").digest())[:8].decode()
    assert check_code("ab" * 32, "per_1") == expected
    assert is_check_code(f" {expected[:4].lower()}-{expected[4:]} ", "ab" * 32, "per_1")
    assert not is_check_code(expected, "ab" * 32, "per_2")
    assert not is_check_code("", "ab" * 32, "per_1")


@pytest.mark.parametrize(
    "other",
    [
        a_step(value="hot-2"),
        a_step(action="destroy_key"),
        a_step(params={"destination": "eip155:1:0xsafe", "amount_base_units": "13"}),
        a_step(params={}),
    ],
)
def test_an_item_says_no_other_step(other: Step) -> None:
    step = a_step()
    item = step_item(step, "Sweep.")
    assert says(item, step)
    assert not says(item, other)
    assert not says(item, dataclasses.replace(step, effect=Effect.TIGHTENS))


def test_a_message_is_listed_by_its_exact_text() -> None:
    text, route = ("Subject", "Body\nsecond line"), ("mail", "users@example.org")
    document = propose(Draft([message_item("msg_1", "users", text, route)], "Tell.", "portcullis"), POLICY, NOW)
    assert document.subject is Subject.MESSAGE
    assert lists(document, message_item("msg_1", "users", text, route))
    assert not lists(document, message_item("msg_1", "users", ("Subject", "Body"), route))
    assert not lists(document, message_item("msg_1", "users", text, ("mail", "thief@example.org")))

"""Registry changes: every one is read strictly, and what the authority states about destinations holds."""

from datetime import UTC, datetime, timedelta

import pytest

from service.domain.changes import (
    CHANGES,
    TIGHTENING,
    IssuersChange,
    NewDestination,
    NewFactor,
    NewPerson,
    PersonNamed,
    change_of,
    check_destination,
    sentence,
)
from service.domain.errors import ApprovalError, InputError
from service.domain.ids import new_id
from service.domain.plan import Effect
from service.domain.quorum import Role
from service.domain.setup import (
    BY_SETUP,
    DESTINATION_TAG,
    RegisteredDestination,
    destination_in_force,
    registered_destination,
)
from service.domain.signed import Signed
from tests.unit.service.domain.test_policy import PEM, sign

NOW = datetime(2026, 11, 22, tzinfo=UTC)
PERSON = {"id": new_id("per"), "name": "Ada", "email": "ada@example.org", "roles": ["responder"]}
CHANNEL: dict[str, object] = {
    "id": "mail",
    "kind": "smtp",
    "config": {"host": "localhost", "audiences": ["responders", "users"], "recipient": ""},
}


def stated(descriptor: str, active_from: datetime, account: str = "acc_1") -> Signed:
    return sign(
        RegisteredDestination(
            tag=DESTINATION_TAG,
            account=account,
            connection="main",
            ref="hot",
            chain="eip155:1",
            descriptor=descriptor,
            active_from=active_from,
            approval=BY_SETUP,
        ).text
    )


def in_force(*statements: Signed) -> str | None:
    found = destination_in_force(statements, "acc_1", "eip155:1", public_key_pem=PEM, now=NOW)
    return None if found is None else found.descriptor


ISSUER = {"asset": "eip155:1/erc20:0x" + "a0" * 20, "name": "A", "contact": "a@example.org", "channel": "mail"}


def test_issuers_change_under_a_name_of_their_own() -> None:
    with pytest.raises(InputError) as refused:
        change_of("change.policy.replace", {"changes": {"issuers": [ISSUER]}})
    assert refused.value.field == "changes.issuers"
    change = change_of("change.policy.issuers", {"issuers": [ISSUER]})
    assert isinstance(change, IssuersChange)
    assert change.changes == {"issuers": [ISSUER]}
    with pytest.raises(InputError, match="one issuer"):
        change_of("change.policy.issuers", {"issuers": [ISSUER, ISSUER]})
    with pytest.raises(InputError, match="contact"):
        change_of("change.policy.issuers", {"issuers": [ISSUER | {"contact": "nobody"}]})


@pytest.mark.parametrize(
    ("action", "params"),
    [
        ("change.channel.put", {"id": "mail", "kind": "smtp", "config": {"host": ["a", {"b": "mail\0"}]}}),
        ("change.channel.put", {"id": "mail", "kind": "smtp", "config": {"ho\0st": "mail"}}),
        ("change.person.suspend", {"person": "per_\0"}),
        ("change.person.add", PERSON | {"id": "ada"}),
        ("mandate.grant", {"id": "m" * 201, "scope": "escalation", "limits": {}, "lasts_s": 60}),
        ("mandate.grant", {"id": "man", "scope": "escalation", "limits": {"kind": ["a\nb"]}, "lasts_s": 60}),
    ],
)
def test_what_the_database_would_refuse_is_refused_when_it_is_asked_for(action: str, params: object) -> None:
    with pytest.raises(InputError):
        change_of(action, params)


def test_a_change_comes_back_from_its_item() -> None:
    person = NewPerson(id=new_id("per"), name="Ada", email="ada@example.org", roles=(Role.RESPONDER,))
    item = person.item("change.person.add", sentence("change.person.add", person))
    assert change_of(item.action, item.params) == person
    assert item.effect is Effect.LOOSENS
    assert PersonNamed(person="per_1").item("change.person.suspend", "x").effect is Effect.TIGHTENS


def test_a_channel_comes_back_from_its_item() -> None:
    channel = change_of("change.channel.put", CHANNEL)
    item = channel.item("change.channel.put", sentence("change.channel.put", channel))
    assert change_of(item.action, item.params) == channel


def test_a_factor_for_one_client_says_so() -> None:
    change = NewFactor(person="per_1", client="mfragg2zonsxi5djovzgs3tf")
    assert "only from the client with the code mfra-gg2z-onsx-i5dj-ovzg-s3tf" in sentence("change.factor.enrol", change)
    assert "client" not in sentence("change.factor.enrol", NewFactor(person="per_1"))


def test_only_taking_away_is_a_tightening() -> None:
    assert {"change.person.suspend", "change.person.role_remove", "change.factor.revoke"} == TIGHTENING
    assert set(CHANGES) > TIGHTENING


@pytest.mark.parametrize(
    ("action", "params"),
    [
        ("change.everything", {}),
        ("change.person.add", {**PERSON, "roles": []}),
        ("change.person.add", {**PERSON, "roles": ["king"]}),
        ("change.person.add", {**PERSON, "email": "nobody"}),
        ("change.person.add", {**PERSON, "name": "a\nb"}),
        ("change.person.add", {**PERSON, "oncall_level": 4}),
        ("change.person.add", {**PERSON, "client": "MFRA"}),
        ("change.factor.enrol", {"person": "per_1", "client": "a" * 25}),
        ("change.factor.enrol", {"person": "per_1", "client": "A" * 24}),
        ("change.person.add", {**PERSON, "channels": [{"channel": "mail"}]}),
        ("change.person.add", {**PERSON, "surprise": 1}),
        ("change.connection.put", {"id": "Main!", "platform": "standard", "name": "M", "settings": {}}),
        (
            "change.connection.put",
            {
                "id": "main",
                "platform": "standard",
                "name": "M",
                "settings": {},
                "secrets": [{"name": "s", "opened_by": "api", "sealed": "not base64!"}],
            },
        ),
        ("change.channel.put", {**CHANNEL, "kind": "pigeon"}),
        ("change.channel.put", {**CHANNEL, "config": {"audiences": None}}),
        ("change.channel.put", {**CHANNEL, "config": {"audiences": "users"}}),
        ("change.channel.put", {**CHANNEL, "config": {"audiences": ["responders", "everybody"]}}),
        ("change.channel.put", {**CHANNEL, "config": {"recipient": ["ada"]}}),
        ("change.channel.put", {**CHANNEL, "config": {"recipient": "a" * 201}}),
        ("change.channel.put", {**CHANNEL, "config": {"host": "a\x00b"}}),
        ("change.channel.put", {**CHANNEL, "config": {"host": {"name": "localhost"}}}),
        ("change.channel.put", {**CHANNEL, "config": {"host\n": "localhost"}}),
        ("change.channel.put", {**CHANNEL, "config": {"sender": "pörtcullis@example.org"}}),
        (
            "change.destination.register",
            {"account": "a", "connection": "c", "ref": "r", "chain": "x", "descriptor": "y"},
        ),
        ("change.person.suspend", {}),
        ("change.person.suspend", []),
    ],
)
def test_a_malformed_change_is_refused(action: str, params: object) -> None:
    with pytest.raises(InputError):
        change_of(action, params)


@pytest.mark.parametrize("descriptor", ["", "a b", "a\nb", "x" * 1001, "\u202e0x"])
def test_a_descriptor_is_one_printable_word(descriptor: str) -> None:
    with pytest.raises(InputError):
        check_destination("eip155:1", descriptor)


def test_a_destinations_sentence_names_it_in_full() -> None:
    new = NewDestination(account="acc_1", connection="c", ref="r", chain="eip155:1", descriptor="0x" + "ab" * 20)
    assert "0x" + "ab" * 20 in sentence("change.destination.register", new)


def test_the_newest_active_destination_counts() -> None:
    old, new = stated("0xold", NOW - timedelta(days=9)), stated("0xnew", NOW - timedelta(days=1))
    later = stated("0xlater", NOW + timedelta(seconds=1))
    assert in_force(later, old, new) == "0xnew"
    assert in_force(later) is None


def test_a_false_row_neither_redirects_nor_hides() -> None:
    genuine = stated("0xsafe", NOW - timedelta(days=1))
    forged = Signed(genuine.body.replace("0xsafe", "0xthief"), genuine.signature)
    elsewhere = stated("0xother", NOW, account="acc_2")
    assert in_force(forged, Signed("{", b""), elsewhere, genuine) == "0xsafe"
    with pytest.raises(ApprovalError):
        registered_destination(forged, PEM)

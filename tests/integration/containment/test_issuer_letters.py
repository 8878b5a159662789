"""A letter to an issuer, from policy and evidence over real votes to a real mail server, and who cannot change it."""

import base64
import email
import email.message
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from sqlalchemy import insert

from hsm.pkcs11.authority import AuthorityToken
from hsm.pkcs11.platform import PlatformToken
from hsm.power import Power
from service.clock import SystemClock
from service.domain.ids import ApprovalId, IncidentId
from service.domain.plan import Step, StepState
from service.domain.secrets import Secret
from service.flow import approve, contain, respond
from service.notifiers.outside import SignedMail
from service.notifiers.smtp import SmtpChannel
from service.ports.notify import Channel
from service.store.database import SqlDatabase, create
from service.store.tables.activity import activities, transactions
from service.store.tables.forensics import traces
from service.store.tables.incident import alerts
from tests.integration.containment.conftest import ACTIONS, Scene
from tests.integration.hsm.tokens import set_up
from tests.support.authority import SETUP_TOKEN, House, house_on
from tests.support.fakes import FakePlatform, Ledger
from tests.support.incidents import CONNECTION, THIEF, add_account, add_connection, add_incident
from tests.support.receivers import Mailbox, closed_port, running_mailbox
from tests.support.servers import SoftHsm
from workers.letters import signed

pytestmark = pytest.mark.servers
TOKEN = "eip155:1/erc20:0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48"
OTHER = "eip155:1/erc20:0xdac17f958d2ee523a2206206994597c13d831ec7"
ISSUER = {"asset": TOKEN, "name": "Example Coin Ltd", "contact": "freeze@example.org", "channel": "mail"}
FURTHER = "0x" + "7" * 40


@pytest.fixture(scope="module")
def platform_token(softhsm: SoftHsm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlatformToken]:
    folder = tmp_path_factory.mktemp("platform-of-letters")
    config = set_up(softhsm.module, softhsm.configuration, folder, Power.PLATFORM, "platform-of-letters")
    token = PlatformToken.open(config)
    yield token
    token.close()


@pytest.fixture
def house(
    request: pytest.FixtureRequest, fresh_postgres_url: str, votes_token: AuthorityToken, tmp_path: Path
) -> Iterator[House]:
    """A parameter names an action that the policy says nothing of, and further fields of the policy."""
    given: tuple[str, dict[str, object]] = getattr(request, "param", ("", {}))
    unnamed, fields = given
    found = house_on(fresh_postgres_url, votes_token, tmp_path)
    declared = {name: action.approval for name, action in ACTIONS.items() if name != unnamed}
    found.first = replace(found.first, declared=declared)
    found.add_people(4)
    found.first.policy(SETUP_TOKEN, {"issuers": [ISSUER], **fields})
    found.complete()
    yield found
    found.close()


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with running_mailbox() as box:
        yield box


@pytest.fixture
def scene(house: House, platform_token: PlatformToken, mailbox: Mailbox) -> Scene:
    ledger = Ledger()
    pem = house.office.public_key_pem

    def channels() -> Mapping[str, Channel]:
        sender = "portcullis@example.org"
        return {"mail": SmtpChannel("127.0.0.1", mailbox.port, sender, security="none", timeout_s=60)}

    outside = SignedMail(channels, partial(signed, platform_token))
    return Scene(
        house.database("portcullis_containment"),
        house.clock,
        ledger,
        FakePlatform(ledger),
        lambda: pem,
        house.database("portcullis_keys"),
        outside,
    )


@pytest.fixture
def theft(house: House) -> Iterator[Callable[..., IncidentId]]:
    """Lays out an incident in which a token left, and more that left."""
    owner = SqlDatabase(create(Secret(house.superuser_url), pool_size=1), SystemClock())
    known: list[IncidentId] = []

    def steal(reference: str, asset: str = TOKEN, *, state: str = "confirmed") -> IncidentId:
        with owner.begin() as uow:
            at = uow.connection
            if not known:
                add_connection(at)
                add_account(at, "hot-1")
                known.append(IncidentId(add_incident(at, (f"account:{CONNECTION}/hot-1",))))
            activity = f"act-{reference}"
            if len(known) == 1 and reference == "0xfeed":
                activity = str(at.execute(alerts.select()).one().activity_id)
            now = datetime.now(UTC) + timedelta(seconds=1)
            about = {"connection_id": CONNECTION, "account": "hot-1", "destination": THIEF, "asset": asset}
            amount = {"amount_base_units": Decimal(2_500_000), "amount_usd": Decimal(2)}
            at.execute(
                insert(activities).values(
                    **about, **amount, id=activity, event_id=reference, body_digest=b"d", kind=f"withdrawal.{state}",
                    status="scored", occurred_at=now, received_at=now, transaction=reference, decision="hold",
                    raw=b"{}",
                )
            )  # fmt: skip
            at.execute(
                insert(transactions).values(
                    **about, **amount, ref=reference, activity_id=activity, state=state, decision="hold",
                    updated_at=now,
                )
            )  # fmt: skip
        return known[0]

    yield steal
    owner.engine.dispose()


def the_letter(scene: Scene, incident: IncidentId) -> Step:
    return scene.steps(incident)["request_issuer_freeze", TOKEN]


def approved(scene: Scene, house: House, step: Step) -> None:
    assert step.approval_id is not None, step.reason
    approval = ApprovalId(step.approval_id)
    with scene.db.begin() as uow:
        document = uow.approvals.document(approval)
    for person in list(house.phones)[:2]:
        house.vote(document, person)
    approve.release(scene.db, approval)


def sent(mailbox: Mailbox) -> email.message.Message:
    (mail,) = mailbox.mails
    assert mail[0] == "freeze@example.org"
    return email.message_from_string(mail[1])


def test_the_letter_goes_out_word_for_word_as_people_approved_it_and_its_signature_holds(
    scene: Scene, house: House, mailbox: Mailbox, theft: Callable[..., IncidentId]
) -> None:
    incident = theft("0xfeed")
    theft("0xother", OTHER)
    theft("0xheld", state="requested")
    respond.plan(scene.desk, incident)
    step = the_letter(scene, incident)
    assert ("request_issuer_freeze", OTHER) not in scene.steps(incident), "nobody is named who issues it"
    assert step.state is StepState.WAITING_APPROVAL
    with scene.db.begin() as uow:
        shown = "\n".join(uow.approvals.document(ApprovalId(step.approval_id or "")).text.splitlines())
    assert "freeze@example.org" in shown
    assert "2500000 to eip155:1:0xeb31" in shown
    approved(scene, house, step)
    contain.step(scene.hands(), step.id)
    done = scene.step(step.id)
    assert done.state is StepState.DONE, done.reason
    files = {part.get_filename(): part.get_payload(decode=True) for part in sent(mailbox).walk()}
    text = str(step.params["letter"]).encode()
    told = files["letter.txt"]
    assert isinstance(told, bytes)
    assert told.replace(b"\r\n", b"\n") == text
    assert b"0xfeed" in text
    assert b"0xheld" not in text, "it did not leave"
    assert done.receipt is not None
    facts = done.receipt.facts
    key = serialization.load_pem_public_key(str(facts["public_key"]).encode())
    assert isinstance(key, rsa.RSAPublicKey)
    signature = base64.b64decode(str(facts["signature"]))
    assert files["letter.txt.sig"] == signature
    key.verify(signature, text, padding.PKCS1v15(), hashes.SHA256())
    listed, sums_signature = files["SHA256SUMS"], files["SHA256SUMS.sig"]
    assert isinstance(listed, bytes)
    assert isinstance(sums_signature, bytes)
    key.verify(sums_signature, listed, padding.PKCS1v15(), hashes.SHA256())
    assert (facts["sums"], base64.b64decode(str(facts["sums_signature"]))) == (listed.decode(), sums_signature)
    paper = files["letter.pdf"]
    assert isinstance(paper, bytes)
    assert f"{hashlib.sha256(paper).hexdigest()}  letter.pdf\n" in listed.decode()


ONE_ACCOUNT = {"blast_radius": {"accounts_per_hour": 1, "value_usd_per_hour": "1000"}}


@pytest.mark.parametrize("house", [("request_issuer_freeze", ONE_ACCOUNT)], indirect=True)
def test_a_policy_without_a_quorum_for_letters_keeps_nothing_else_from_being_approved(
    scene: Scene, house: House, theft: Callable[..., IncidentId]
) -> None:
    incident = theft("0xfeed")
    owner = SqlDatabase(create(Secret(house.superuser_url), pool_size=1), SystemClock())
    with owner.begin() as uow:
        add_account(uow.connection, "hot-2")
        before = IncidentId(add_incident(uow.connection, (f"account:{CONNECTION}/hot-2",)))
    owner.engine.dispose()
    respond.plan(scene.desk, before)
    respond.plan(scene.desk, incident)
    letter, *others = sorted(scene.steps(incident).values(), key=lambda s: s.action != "request_issuer_freeze")
    assert letter.state is StepState.REFUSED
    assert "no quorum for request_issuer_freeze" in (letter.reason or "")
    waiting = [s for s in others if s.state is StepState.WAITING_APPROVAL]
    assert waiting
    assert len({s.approval_id for s in waiting}) == 1, "still one vote"
    assert "no quorum" not in " ".join(s.reason or "" for s in others)


def test_what_is_not_approved_or_was_changed_is_not_sent(
    scene: Scene, house: House, mailbox: Mailbox, theft: Callable[..., IncidentId]
) -> None:
    incident = theft("0xfeed")
    respond.plan(scene.desk, incident)
    step = the_letter(scene, incident)
    contain.step(scene.hands(), step.id)
    assert scene.step(step.id).state is StepState.WAITING_APPROVAL
    approved(scene, house, step)
    scene.overwrite(step.id, params={**step.params, "recipient": "thief@example.org"})
    contain.step(scene.hands(), step.id)
    assert scene.step(step.id).state is StepState.REFUSED
    assert mailbox.mails == []


def test_a_lost_answer_is_not_sent_again_and_waits_for_people(
    scene: Scene, house: House, mailbox: Mailbox, theft: Callable[..., IncidentId]
) -> None:
    incident = theft("0xfeed")
    respond.plan(scene.desk, incident)
    step = the_letter(scene, incident)
    approved(scene, house, step)
    mailbox.hang_up = True
    for _ in range(3):
        contain.step(scene.hands(), step.id)
        house.clock.pass_by(timedelta(minutes=10))
    assert scene.step(step.id).state is StepState.UNKNOWN
    assert len(mailbox.mails) == 1


@pytest.fixture
def nowhere() -> Iterator[int]:
    with closed_port() as port:
        yield port


@pytest.mark.parametrize("trouble", ["nobody listens", "450 greylisted, try again"])
def test_a_mail_server_that_took_nothing_is_tried_again_and_gets_it_once(
    scene: Scene, house: House, mailbox: Mailbox, theft: Callable[..., IncidentId], nowhere: int, trouble: str
) -> None:
    incident = theft("0xfeed")
    respond.plan(scene.desk, incident)
    step = the_letter(scene, incident)
    approved(scene, house, step)
    well = (mailbox.port, mailbox.rcpt_answer)
    if trouble == "nobody listens":
        mailbox.port = nowhere
    else:
        mailbox.rcpt_answer = trouble
    for _ in range(4):
        contain.step(scene.hands(), step.id)
        house.clock.pass_by(timedelta(minutes=1))
    waits = scene.step(step.id)
    assert (waits.state, waits.attempt, mailbox.mails) == (StepState.RUNNING, 4, [])
    mailbox.port, mailbox.rcpt_answer = well
    for _ in range(2):
        contain.step(scene.hands(), step.id)
        house.clock.pass_by(timedelta(minutes=10))
    assert scene.step(step.id).state is StepState.DONE
    assert sent(mailbox)["Message-ID"]


def test_a_mail_server_that_stays_away_ends_it_with_the_reason_not_in_doubt(
    scene: Scene, house: House, mailbox: Mailbox, theft: Callable[..., IncidentId], nowhere: int
) -> None:
    incident = theft("0xfeed")
    respond.plan(scene.desk, incident)
    step = the_letter(scene, incident)
    approved(scene, house, step)
    mailbox.port = nowhere
    for _ in range(contain.MOST_ATTEMPTS + 1):
        contain.step(scene.hands(), step.id)
        house.clock.pass_by(timedelta(minutes=30))
    found = scene.step(step.id)
    assert (found.state, "given up after 12 attempts" in (found.reason or "")) == (StepState.REFUSED, True)


def test_a_refused_recipient_and_a_channel_that_is_no_mail_fail_with_the_reason(
    scene: Scene, house: House, mailbox: Mailbox, theft: Callable[..., IncidentId]
) -> None:
    incident = theft("0xfeed")
    respond.plan(scene.desk, incident)
    step = the_letter(scene, incident)
    approved(scene, house, step)
    mailbox.rcpt_answer = "550 unknown"
    contain.step(scene.hands(), step.id)
    found = scene.step(step.id)
    assert (found.state, "550" in (found.reason or "")) == (StepState.FAILED, True)


def test_asked_again_it_is_written_anew_only_where_the_facts_are_others(
    scene: Scene, house: House, theft: Callable[..., IncidentId]
) -> None:
    incident = theft("0xfeed")
    respond.plan(scene.desk, incident)
    first = the_letter(scene, incident)
    asker = next(iter(house.phones))
    respond.request(scene.desk, incident, "request_issuer_freeze", asker)
    respond.extend(scene.desk, incident)
    assert the_letter(scene, incident).id == first.id
    taint = {"poison": "2500000", "haircut": "1", "fifo": "0"}
    address = {"address": FURTHER, "label": None, "resting": {TOKEN: taint}}
    report = json.dumps({"chains": [{"chain": "eip155:1", "addresses": [address]}]})
    now = house.clock.now()
    with scene.db.begin() as uow:
        uow.connection.execute(
            insert(traces).values(
                incident_id=incident, state="complete", walks={}, report=report, lease_until=now, created_at=now,
                updated_at=now,
            )
        )  # fmt: skip
    respond.extend(scene.desk, incident)
    assert the_letter(scene, incident).id == first.id, "by itself once"
    respond.request(scene.desk, incident, "request_issuer_freeze", asker)
    second = the_letter(scene, incident)
    assert second.id != first.id
    assert f"2500000 at eip155:1:{FURTHER}" in str(second.params["letter"])

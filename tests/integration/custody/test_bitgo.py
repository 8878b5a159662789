"""BitGo over HTTP: containment against an outsider that checks every request, and BitGo's own client for the HMAC."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import patch

import pytest

from service.actions import reject_changes
from service.actions.base import ActionContext, actions_in
from service.clock import SystemClock
from service.custody.bitgo import calls as bitgo_calls
from service.custody.bitgo.calls import CAPABILITIES, MOST_ASKED, BitgoCalls
from service.custody.bitgo.hmac_auth import answer_is_genuine, request_headers
from service.domain.account import AccountRef
from service.domain.errors import (
    InputError,
    MissingCapabilityError,
    RefusedByOtherSideError,
    UnavailableError,
    UnknownOutcomeError,
)
from service.domain.ids import AccountId, ConnectionId
from service.domain.plan import Receipt, Target, Verdict
from service.ports.custody import Capability, ConnectionConfig, PendingChange
from tests.support.bitgo import COIN, ENTERPRISE, SETTINGS, TOKEN, WALLET, Bitgo, bitgo, mac
from tests.support.fakes import FakePlatform, Ledger

pytestmark = pytest.mark.servers
NOW_MS = 1_700_000_000_000
VECTOR_TOKEN = "v2x" + "a" * 64
NPM = Path(__file__).parents[2] / "npm"
SCRIPT = """
const { calculateRequestHMAC, verifyResponse } = require('@bitgo/sdk-hmac');
Date.now = () => 1700000000000;
const [request, answer] = JSON.parse(process.argv[1]);
const checked = verifyResponse({ ...answer, authVersion: 3 });
const made = calculateRequestHMAC({ ...request, authVersion: 3 });
console.log(JSON.stringify({ made, valid: checked.isValid && checked.isInResponseValidityWindow }));
"""


CONNECTION = ConnectionId("bg")
ACCOUNT = AccountRef(CONNECTION, WALLET)


@pytest.fixture
def side() -> Iterator[Bitgo]:
    with bitgo() as state:
        yield state


def calls(side: Bitgo, token: str = TOKEN, **settings: str) -> BitgoCalls:
    told = {"api_base_url": side.url, **SETTINGS, **settings}
    config = ConnectionConfig(CONNECTION, "bitgo", told, lambda _: token.encode(), ("access_token",))
    return BitgoCalls(config, FakePlatform(Ledger()))  # type: ignore[arg-type]  # its holds are not asked here


def context(platform: BitgoCalls) -> ActionContext:
    target = Target("account", CONNECTION, WALLET, None)
    return ActionContext(target, {}, "key-1", SystemClock(), AccountId("acc_1"), custody=platform)


def test_bitgos_own_client_makes_and_checks_the_same() -> None:
    node = shutil.which("node")
    assert node, "node is missing: apt-get install nodejs npm"
    assert (NPM / "node_modules/@bitgo/sdk-hmac").exists(), "@bitgo/sdk-hmac is missing: npm ci --prefix tests/npm"
    path, body, answer = "/api/v2/tbtc4/pendingapprovals?walletId=é".replace("é", "%C3%A9"), '{"a":"é"}', '{"b":"ü"}'
    ours = request_headers(VECTOR_TOKEN, "PUT", path, body.encode(), NOW_MS)["HMAC"]
    told = mac(VECTOR_TOKEN, "PUT", NOW_MS, path, 200, answer.encode())
    common = {"url": path, "token": VECTOR_TOKEN, "method": "put", "timestamp": NOW_MS}
    given = [common | {"text": body}, common | {"text": answer, "statusCode": 200, "hmac": told}]
    done = subprocess.run([node, "-e", SCRIPT, json.dumps(given)], cwd=NPM, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"made": ours, "valid": True}
    assert answer_is_genuine(VECTOR_TOKEN, ("PUT", path), (str(NOW_MS), told, 200, answer.encode()), NOW_MS)


def test_a_wallet_is_frozen_for_a_day_and_not_twice(side: Bitgo) -> None:
    action, ctx = actions_in("service.actions")["freeze_account"], context(calls(side))
    assert action.preconditions(ctx) == ()
    assert action.verify(ctx, None) is Verdict.DOES_NOT_HOLD
    receipt = action.execute(ctx)
    until = side.wallets[WALLET]
    assert until is not None
    assert timedelta(hours=23) < until - datetime.now(UTC) <= timedelta(hours=24)
    assert action.verify(ctx, receipt) is Verdict.HOLDS
    action.execute(ctx)
    assert [call for call in side.calls if call[0] == "POST"] == [("POST", f"/api/v2/{COIN}/wallet/{WALLET}/freeze")]
    ends_at = action.ends_at(receipt, datetime.now(UTC))
    assert ends_at == until, "as the platform said"
    for gone in (timedelta(seconds=1), timedelta(hours=-11)):
        side.wallets[WALLET] = datetime.now(UTC) - gone
        assert action.verify(ctx, receipt) is Verdict.DOES_NOT_HOLD, "it expired, or is an older one that ends soon"
    action.execute(ctx)
    assert [call[0] for call in side.calls].count("POST") == 2, "a day from now again"
    with pytest.raises(MissingCapabilityError, match="24 hours"):
        action.undo(ctx, receipt)


@pytest.mark.parametrize("told", [None, "soon", 5, "2026-01-01T00:00:00"])
def test_of_a_freeze_whose_end_was_not_told_only_half_is_sure(told: object) -> None:
    now = datetime.now(UTC)
    receipt = Receipt(WALLET, {"expires": told})
    assert actions_in("service.actions")["freeze_account"].ends_at(receipt, now) == now + timedelta(hours=12)
    assert actions_in("service.actions")["freeze_account"].ends_at(None, now) == now + timedelta(hours=12)
    assert actions_in("service.actions")["suspend_withdrawals"].ends_at(receipt, now) is None


def test_a_lost_answer_is_settled_by_asking_the_wallet(side: Bitgo) -> None:
    side.drop_answer = True
    action, ctx = actions_in("service.actions")["freeze_account"], context(calls(side))
    with pytest.raises(UnknownOutcomeError):
        action.execute(ctx)
    assert action.verify(ctx, None) is Verdict.HOLDS


def test_what_waits_for_approval_is_cancelled_and_nothing_else(side: Bitgo) -> None:
    first = side.pend("transactionRequest", "pending", "tb1qthere")
    side.pend("policyRuleRequest")
    side.pend("transactionRequest", "approved")
    last = side.pend("transactionRequestFull", "awaitingSignature", "a", "b")
    action, ctx = actions_in("service.actions")["cancel_pending"], context(calls(side))
    found = list(calls(side).pending(ACCOUNT))
    assert [(one.transaction, one.destination) for one in found] == [
        (f"{COIN}/{first}", "tb1qthere"),
        (f"{COIN}/{last}", None),
    ]
    receipt = action.execute(ctx)
    assert [one["state"] for one in side.approvals.values()] == ["rejected", "pending", "approved", "rejected"]
    assert action.verify(ctx, receipt) is Verdict.HOLDS
    puts = [call for call in side.calls if call[0] == "PUT"]
    for one in found:
        calls(side).cancel(ACCOUNT, one.transaction, key="again")
    assert [call for call in side.calls if call[0] == "PUT"] == puts, "what is rejected is not rejected again"


def test_changes_that_wait_for_approval_are_rejected_and_payments_are_not(side: Bitgo) -> None:
    kinds = ("policyRuleRequest", "userChangeRequest", "updateApprovalsRequiredRequest")
    waiting = [side.pend(kind) for kind in kinds] + [
        side.pend("userChangeRequest", "pendingVideoApproval", wallet=None)
    ]
    others = [side.pend(), side.pend("policyRuleRequest", "approved"), side.pend("policyRuleRequest", wallet="0" * 32)]
    before = {one: side.approvals[one]["state"] for one in others}
    action, platform = actions_in("service.actions")["reject_changes"], calls(side, enterprise=ENTERPRISE)
    ctx = replace(context(platform), target=Target("connection", CONNECTION, CONNECTION))
    assert action.preconditions(ctx) == ()
    assert action.verify(ctx, None) is Verdict.DOES_NOT_HOLD
    receipt = action.execute(ctx)
    assert receipt.facts["rejected"] == [f"{COIN}/{one} {side.approvals[one]['info']['type']}" for one in waiting], (
        "what people read afterwards"
    )
    assert {side.approvals[one]["state"] for one in waiting} == {"rejected"}
    assert {one: side.approvals[one]["state"] for one in others} == before
    assert action.verify(ctx, receipt) is Verdict.HOLDS
    late = side.pend("userChangeRequest")
    assert action.verify(ctx, receipt) is Verdict.DOES_NOT_HOLD, "he tries again, and so does the step"
    side.drop_answer = True
    with pytest.raises(UnknownOutcomeError):
        action.execute(ctx)
    side.drop_answer = False
    assert action.verify(ctx, None) is Verdict.HOLDS
    puts = [call for call in side.calls if call[0] == "PUT"]
    platform.reject_change(f"{COIN}/{late}", key="again")
    assert [call for call in side.calls if call[0] == "PUT"] == puts, "what is rejected is not rejected again"


def test_a_change_that_is_approved_meanwhile_spares_no_other(side: Bitgo) -> None:
    side.pend("policyRuleRequest")
    side.pend("userChangeRequest")
    platform = calls(side)
    decided, left = (one.change for one in platform.pending_changes())
    ctx = replace(context(platform), target=Target("connection", CONNECTION, CONNECTION))
    found = [PendingChange(one, "userChangeRequest", "pending") for one in (decided, left)]
    side.approvals[decided.partition("/")[2]]["state"] = "approved"
    with (
        patch.object(BitgoCalls, "pending_changes", lambda _self: iter(found)),
        pytest.raises(RefusedByOtherSideError, match=f"1 rejected; not {decided} userChangeRequest"),
    ):
        actions_in("service.actions")["reject_changes"].execute(ctx)
    assert side.approvals[left.partition("/")[2]]["state"] == "rejected"


def test_a_wallet_that_is_not_shown_to_us_spares_no_other(side: Bitgo) -> None:
    waiting = side.pend("policyRuleRequest")
    hidden = "00" * 16
    side.unseen.add(hidden)
    platform = calls(side, wallets=json.dumps({hidden: COIN, WALLET: COIN}))
    ctx = replace(context(platform), target=Target("connection", CONNECTION, CONNECTION))
    action = actions_in("service.actions")["reject_changes"]
    with pytest.raises(RefusedByOtherSideError, match=f"1 rejected; not BitGo does not show .* walletId {hidden}"):
        action.execute(ctx)
    assert side.approvals[waiting]["state"] == "rejected"
    assert action.verify(ctx, None) is Verdict.DOES_NOT_HOLD, "so it is tried again, and ends as failed with its reason"


def test_a_flood_in_one_wallet_or_a_slow_clock_leaves_no_change_waiting(side: Bitgo) -> None:
    """More than one attempt reaches: what was refused meanwhile is told at the end and not in place of the rest."""
    changes = [side.pend("userChangeRequest") for _ in range(7)]
    action, platform = actions_in("service.actions")["reject_changes"], calls(side)
    ctx = replace(context(platform), target=Target("connection", CONNECTION, CONNECTION))
    refuse = side.approvals[changes[0]]["id"]
    reject = platform.reject_change

    def raced(change: str, *, key: str) -> Receipt:
        if change.endswith(refuse):
            side.approvals[refuse]["state"] = "approved"
        return reject(change, key=key)

    with patch.object(reject_changes, "MOST_AT_ONCE", 3), patch.object(platform, "reject_change", raced):
        for _ in range(2):
            ctx = replace(ctx, receipt=action.execute(ctx))
            assert action.verify(ctx, ctx.receipt) is Verdict.DOES_NOT_HOLD
        with pytest.raises(RefusedByOtherSideError, match=f"6 rejected; not {COIN}/{refuse} userChangeRequest"):
            action.execute(ctx)
    assert [side.approvals[one]["state"] for one in changes] == ["approved", *["rejected"] * 6]


def test_more_changes_than_pages_are_read_are_rejected_as_far_as_they_are_read(side: Bitgo) -> None:
    changes = [side.pend("userChangeRequest") for _ in range(6)]
    action, platform = actions_in("service.actions")["reject_changes"], calls(side)
    ctx = replace(context(platform), target=Target("connection", CONNECTION, CONNECTION))
    with patch.object(bitgo_calls, "_MAX_PAGES", 2), pytest.raises(UnavailableError):
        action.execute(ctx)
    assert [side.approvals[one]["state"] for one in changes] == [*["rejected"] * 4, *["pending"] * 2]


def test_more_wallets_than_one_job_can_ask_are_left_to_people(side: Bitgo) -> None:
    many = calls(side, wallets=json.dumps({f"{number:032x}": COIN for number in range(MOST_ASKED + 1)}))
    assert many.capabilities == CAPABILITIES - {Capability.REJECT_CHANGES}
    assert "reject_changes" in many.lacks(Capability.REJECT_CHANGES)
    few = calls(side, wallets=json.dumps({f"{number:032x}": COIN for number in range(MOST_ASKED)}))
    assert few.capabilities == CAPABILITIES


def test_an_approval_that_is_over_cannot_be_cancelled(side: Bitgo) -> None:
    over = f"{COIN}/{side.pend('transactionRequest', 'approved')}"
    with pytest.raises(RefusedByOtherSideError):
        calls(side).cancel(ACCOUNT, over, key="k")
    assert calls(side).cancelled(over) is Verdict.DOES_NOT_HOLD
    side.approvals[over.partition("/")[2]]["state"] = "newWord"
    assert calls(side).cancelled(over) is Verdict.CANNOT_TELL
    assert calls(side).cancelled(f"{COIN}/0000") is Verdict.CANNOT_TELL
    for bad in ("x", "a/../b", f"{COIN}/a/b"):
        with pytest.raises(InputError):
            calls(side).cancel(ACCOUNT, bad, key="k")


def test_an_answer_that_another_made_is_no_answer(side: Bitgo) -> None:
    side.forge = True
    with pytest.raises(UnavailableError):
        list(calls(side).pending(ACCOUNT))
    assert calls(side).account_frozen(ACCOUNT, seconds=60) is Verdict.CANNOT_TELL
    side.forge = False
    side.pend()
    assert calls(side, token="v2x" + "b" * 64).account_frozen(ACCOUNT, seconds=60) is Verdict.CANNOT_TELL


def test_without_access_only_our_own_gate_is_there(side: Bitgo) -> None:
    bare = BitgoCalls(ConnectionConfig(CONNECTION, "bitgo", {}, lambda _: b"", ()), FakePlatform(Ledger()))  # type: ignore[arg-type]  # as above
    assert bare.capabilities == {Capability.HOLD_OUTGOING, Capability.LOCK_DESTINATION}
    assert calls(side).capabilities == CAPABILITIES
    assert "freeze_account" in bare.lacks(Capability.FREEZE_ACCOUNT)
    with pytest.raises(MissingCapabilityError, match="coin"):
        calls(side, wallets="{}").freeze_account(ACCOUNT, seconds=60, key="k")

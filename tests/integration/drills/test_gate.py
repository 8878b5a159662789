"""The co-signer asks before anything is signed, and does what the signed answer says."""

from typing import Any

import jwt
import msgspec
import pytest

from tests.integration.drills.harness import COLD, THIEF, Drill, OtherSide, Received, public_pem


def is_callback(request: Received) -> bool:
    return request.path == "/cosigner/v2/tx_sign_request"


def claims_of(request: Received, drill: Drill) -> dict[str, Any]:
    pem = drill.seeded["cosigner_public_key_pem"]
    found: dict[str, Any] = msgspec.json.decode(jwt.api_jws.decode(request.body, pem, ["RS256"]))
    return found


def test_approved_transfer_is_signed_as_shown(drill: Drill, other_side: OtherSide) -> None:
    made = drill.transfer(10**16)
    told = drill.wait_status(made, "COMPLETED")
    asked = claims_of(other_side.wait_for(is_callback)[0], drill)
    assert (asked["txId"], asked["sourceType"], asked["sourceId"], asked["destType"]) == (
        made,
        "VAULT",
        "0",
        "UNMANAGED",
    )
    assert (asked["amountStr"], asked["destAddressType"]) == ("0.010000000000000000", "ONE_TIME")
    assert asked["destinations"][0]["displayDstAddress"] == asked["destAddress"] == told["destinationAddress"]
    assert asked["rawTx"][0]["rawTx"].startswith("02")
    receipt = drill.rpc("eth_getTransactionReceipt", told["txHash"])["result"]
    assert receipt["status"] == "0x1"


def test_retry_asks_again_with_identical_parameters(drill: Drill, other_side: OtherSide) -> None:
    answers = iter(["RETRY", "RETRY", "APPROVE"])
    other_side.decide = lambda _claims: next(answers)
    drill.wait_status(drill.transfer(), "COMPLETED")
    asked = [claims_of(r, drill) for r in other_side.wait_for(is_callback, 3)]
    assert asked[0] == asked[1] == asked[2]
    assert [c["result"] for c in drill.get("/callbacks")] == ["RETRY", "RETRY", "APPROVE"]


def test_reject_is_final_and_moves_nothing(drill: Drill, other_side: OtherSide) -> None:
    other_side.decide = lambda _claims: "REJECT"
    drill.wait_status(drill.transfer(to=THIEF), "REJECTED")
    figures = drill.get("/figures")
    assert (figures["value_lost_usd"], figures["value_at_risk_usd"]) == ("0.00", "1035000.00")


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        ((500, b""), "CALLBACK_HTTP_500"),
        ((200, b"not a token"), "CALLBACK_SIGNATURE_INVALID"),
        ((200, jwt.encode({"action": "APPROVE"}, "x" * 64, "HS256").encode()), "CALLBACK_SIGNATURE_INVALID"),
    ],
)
def test_unusable_answer_never_signs(
    drill: Drill, other_side: OtherSide, monkeypatch: pytest.MonkeyPatch, answer: tuple[int, bytes], detail: str
) -> None:
    monkeypatch.setattr(other_side, "answer", lambda _request: answer)
    assert drill.wait_status(drill.transfer(), "FAILED")["subStatus"] == detail


def test_answer_to_another_request_never_signs(
    drill: Drill, other_side: OtherSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = jwt.encode({"action": "APPROVE", "requestId": "another"}, other_side.key, "RS256").encode()
    monkeypatch.setattr(other_side, "answer", lambda _request: (200, wrong))
    assert drill.wait_status(drill.transfer(), "FAILED")["subStatus"] == "CALLBACK_REQUEST_ID_MISMATCH"


def test_retries_run_out(make_drill: Any, other_side: OtherSide) -> None:
    other_side.decide = lambda _claims: "RETRY"
    callback = {"base_url": other_side.url + "/cosigner", "retry_interval_s": 0.0, "retry_max": 2}
    drill = make_drill(callback=callback | {"public_key_pem": public_pem(other_side.key)})
    assert drill.wait_status(drill.transfer(), "FAILED")["subStatus"] == "TIMEOUT"
    assert len(drill.get("/callbacks")) == 3


def test_what_is_shown_may_differ_from_what_is_signed(drill: Drill, other_side: OtherSide) -> None:
    call = {"to": COLD.split(":")[2], "value": "0", "data": "0x6a761202"}
    drill.wait_status(drill.transfer(operation="CONTRACT_CALL", raw_call=call), "COMPLETED")
    asked = claims_of(other_side.wait_for(is_callback)[0], drill)
    assert asked["destAddress"].lower() == "0xc000000000000000000000000000000000000001"
    assert "2222222222222222222222222222222222222222" in asked["rawTx"][0]["rawTx"]


def test_config_change_takes_effect_only_when_approved(drill: Drill, other_side: OtherSide) -> None:
    wallet = {"address": THIEF, "kind": "attacker", "name": "new vendor", "wallet_id": "w-new"}
    order = {"type": "UNMANAGED_WALLET", "user": "u-1", "wallet": wallet}
    other_side.decide = lambda _claims: "REJECT"
    assert drill.post("/config_change", order)["outcome"] == "REJECT"
    refused = {"account": "0", "asset": "ETH", "amount_base_units": "1", "destination": "w-new", "user": "u-1"}
    drill.post("/transfer", refused | {"destination_type": "EXTERNAL_WALLET"}, expect=404)
    other_side.decide = lambda _claims: "APPROVE"
    assert drill.post("/config_change", order)["outcome"] == "APPROVE"
    asked = claims_of(other_side.wait_for(lambda r: r.path.endswith("config_change_sign_request"), 2)[1], drill)
    assert (asked["type"], asked["extraInfo"]["walletId"]) == ("UNMANAGED_WALLET", "w-new")
    drill.post("/transfer", refused | {"destination_type": "EXTERNAL_WALLET"})

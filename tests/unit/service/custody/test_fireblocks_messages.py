"""Several typed messages in one request: none of them hides behind another."""

import json

import msgspec
import pytest

from service.custody.fireblocks.messages import ExtraParameters, Message, RawMessageData, compare_messages
from service.custody.fireblocks.seen import RawTx, Seen
from service.domain.decode.eip712 import read_typed_data

FRIEND, THIEF = "0x" + "b" * 40, "0x" + "e" * 40
FIELDS = (
    ("owner", "address"),
    ("spender", "address"),
    ("value", "uint256"),
    ("nonce", "uint256"),
    ("deadline", "uint256"),
)


def permit(spender: str, value: int) -> bytes:
    return json.dumps(
        {
            "types": {"Permit": [{"name": name, "type": kind} for name, kind in FIELDS]},
            "primaryType": "Permit",
            "domain": {"name": "Coin"},
            "message": {"owner": "0x" + "a" * 40, "spender": spender, "value": value, "nonce": 0, "deadline": 9},
        }
    ).encode()


SMALL, LARGE = permit(FRIEND, 1), permit(THIEF, 10**14)


def seen(*told: bytes, signed: tuple[bytes, ...] = ()) -> Seen:
    messages = tuple(Message(msgspec.Raw(one), "EIP712") for one in told)
    raw = tuple(RawTx(payload=read_typed_data(one).digest.hex()) for one in signed or told)
    return compare_messages("TYPED_MESSAGE", ExtraParameters(RawMessageData(messages)), raw)


def test_one_known_message_is_no_doubt() -> None:
    assert seen(SMALL).doubt is None


@pytest.mark.parametrize("told", [(SMALL, LARGE), (LARGE, SMALL)])
def test_several_messages_are_a_doubt_and_all_are_told(told: tuple[bytes, ...]) -> None:
    found = seen(*told)
    assert found.facts is not None
    assert "several messages" in (found.doubt or "")
    assert "100000000000000" in (found.facts.summary or "")
    assert THIEF in (found.facts.summary or "")


def test_the_digest_covers_every_message() -> None:
    digests = {seen(*told).payload_digest for told in ((SMALL,), (SMALL, LARGE), (SMALL, SMALL), (LARGE, SMALL))}
    assert None not in digests
    assert len(digests) == 4


def test_a_grave_message_or_another_one_than_shown_counts_wherever_it_stands() -> None:
    grave = seen(SMALL, permit(THIEF, 2**256 - 1))
    assert grave.facts is not None
    assert (grave.facts.unlimited_approval, grave.recipient) == (True, THIEF)
    swapped = seen(SMALL, SMALL, signed=(SMALL, LARGE))
    assert swapped.facts is not None
    assert swapped.facts.display_mismatch


def test_what_cannot_be_read_beside_a_known_message_is_told() -> None:
    messages = (Message(msgspec.Raw(SMALL), "EIP712"), Message(msgspec.Raw(b'"zz"'), "EIP191"))
    raw = (RawTx(payload=read_typed_data(SMALL).digest.hex()), RawTx(payload="00" * 32))
    found = compare_messages("TYPED_MESSAGE", ExtraParameters(RawMessageData(messages)), raw)
    assert (found.payload_digest, "cannot be read" in (found.doubt or "")) == (None, True)

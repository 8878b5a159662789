"""Messages that a key signs instead of a transaction: EIP-712 typed data and EIP-191 text (operation TYPED_MESSAGE).

Rules: what is shown is hashed by ourselves and must be what the key gets, message by message, or it is a mismatch. What
cannot be held against a hash is a doubt: a message that was not sent, typed data of a kind that is not known (it may be an
order or a login to anything), a Safe's gas refund, a text of 32 bytes (it is somebody's hash, as `eth_sign` had it), and
every RAW operation. Several messages at once are a doubt: all of them are told, their facts added up, and the payload digest
covers them all.
"""

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from typing import Annotated, Final

import msgspec
from eth_hash.auto import keccak

from service.custody.fireblocks.seen import RawTx, Seen
from service.domain.activity import SigningFacts
from service.domain.decode.eip712 import TypedData, read_typed_data
from service.domain.decode.evm import from_hex
from service.domain.decode.signing import facts_of_typed_data
from service.domain.decode.typed import decode_typed_data, typed_doubt
from service.domain.errors import InputError

TYPED_MESSAGE: Final = "TYPED_MESSAGE"
RAW: Final = "RAW"
MAX_MESSAGES: Final = 20
_HASH: Final = 32
_SHOWN: Final = 200
_LONGEST: Final = 1_500


class Message(msgspec.Struct, frozen=True):
    """One message. `content` is the typed data itself (EIP712), else hex digits."""

    content: msgspec.Raw
    type: Annotated[str, msgspec.Meta(max_length=40)] = ""


class RawMessageData(msgspec.Struct, frozen=True):
    """All messages of one request."""

    messages: tuple[Message, ...] = ()


class ExtraParameters(msgspec.Struct, frozen=True, rename="camel"):
    """What a request carries besides, as far as we read it."""

    raw_message_data: RawMessageData | None = None


def compare_messages(operation: str, extra: ExtraParameters | None, raw: Sequence[RawTx]) -> Seen:
    """Compare every message with what the key would sign. Never raises."""
    told = () if extra is None or extra.raw_message_data is None else extra.raw_message_data.messages
    if operation == RAW:
        return _doubt("bytes that nobody can read are to be signed")
    if not told or not raw:
        return _doubt("the message to be signed was not sent")
    if len(told) != len(raw) or len(told) > MAX_MESSAGES:
        return _doubt("other messages are to be signed than are shown")
    found = [_compare_one(message, entry) for message, entry in zip(told, raw, strict=True)]
    return found[0] if len(found) == 1 else _together(found)


def _together(found: Sequence[Seen]) -> Seen:
    """Return one answer for several messages: nothing that one of them does is hidden behind another."""
    facts = [seen.facts or SigningFacts(summary=seen.doubt) for seen in found]
    told = "; ".join(f"{number}. {one.summary}" for number, one in enumerate(facts, 1))
    digests = [seen.payload_digest for seen in found if seen.payload_digest is not None]
    doubts = [seen.doubt for seen in found if seen.doubt is not None]
    return Seen(
        SigningFacts(
            delegatecall=_any(one.delegatecall for one in facts),
            unlimited_approval=_any(one.unlimited_approval for one in facts),
            governance_call=_any(one.governance_call for one in facts),
            display_mismatch=_any(one.display_mismatch for one in facts),
            summary=told if len(told) <= _LONGEST else told[:_LONGEST] + " …",
        ),
        next((seen.recipient for seen in found if _is_grave(seen.facts)), found[0].recipient),
        hashlib.sha256(b"".join(digests)).digest() if len(digests) == len(found) else None,
        "; ".join(["several messages are to be signed at once", *dict.fromkeys(doubts)]),
    )


def _any(facts: Iterable[bool | None]) -> bool | None:
    """Return True where one is, None where none is and one is not known."""
    told = set(facts)
    return True if True in told else (None if None in told else False)


def _compare_one(message: Message, entry: RawTx) -> Seen:
    try:
        signed = from_hex(entry.payload, field="rawTx.payload", max_bytes=_HASH)
        if message.type == "EIP712":
            return _typed(read_typed_data(_text(message.content)), signed)
        if message.type == "EIP191":
            return _personal(_bytes(message.content), signed)
    except InputError:
        return _doubt("the message to be signed cannot be read")
    return _doubt(f"messages of type {message.type[:_SHOWN] or 'unknown'} cannot be compared")


def _typed(data: TypedData, signed: bytes) -> Seen:
    same = hmac.compare_digest(data.digest, signed)
    call = decode_typed_data(data)
    facts = facts_of_typed_data(data, display_mismatch=not same)
    return Seen(facts, call.recipient or data.contract, data.digest, typed_doubt(call))


def _personal(text: bytes, signed: bytes) -> Seen:
    digest = keccak(b"\x19Ethereum Signed Message:\n%d%b" % (len(text), text))
    same = hmac.compare_digest(digest, signed)
    shown = "".join(letter if letter.isprintable() else " " for letter in text.decode(errors="replace"))[:_SHOWN]
    facts = SigningFacts(
        delegatecall=False,
        unlimited_approval=False,
        governance_call=False,
        display_mismatch=not same,
        summary=f"signs the text {shown!r}",
    )
    return Seen(facts, None, digest, "a hash is to be signed as text" if len(text) == _HASH else None)


def _text(content: msgspec.Raw) -> bytes:
    """Typed data comes as an object, or as its text inside a string."""
    raw = bytes(content)
    if not raw.startswith(b'"'):
        return raw
    return _string(raw).encode()


def _bytes(content: msgspec.Raw) -> bytes:
    return from_hex(_string(bytes(content)), field="content")


def _string(raw: bytes) -> str:
    try:
        return msgspec.json.decode(raw, type=str)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InputError("content must be text", field="content") from error


def _is_grave(facts: SigningFacts | None) -> bool:
    return facts is not None and bool(
        facts.display_mismatch or facts.delegatecall or facts.unlimited_approval or facts.governance_call
    )


def _doubt(why: str) -> Seen:
    return Seen(None, None, None, why)

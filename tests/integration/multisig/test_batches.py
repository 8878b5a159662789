"""Safe's own MultiSend 1.5.0 on a real EVM: where it stands, and whom the zero address in its batches means."""

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_typing import Hash32

from service.domain.decode.calldata import ITSELF_MULTI_SENDS, decode_call
from service.domain.safe import ZERO
from tests.integration.multisig.conftest import EXECUTE, TRANSACTION_HASH
from tests.support.anvil import SAFE_BUILD, Anvil, artifact, data_of

FACTORY = "0x914d7fec6aac8cd542e72bca78b30650d45643d7"
"""From which Safe deploys its releases by CREATE2; the same code as the factory that every anvil begins with."""
ANVILS_OWN = "0x4e59b44847b379578588920ca78fbf26c0b4956c"
OWNER = "0x" + "0a" * 20


def deployed(chain: Anvil, name: str) -> str:
    """Deploy a contract of the release as Safe does and return where it stands."""
    chain.rpc("anvil_setCode", FACTORY, chain.rpc("eth_getCode", ANVILS_OWN, "latest"))
    code = bytes.fromhex(artifact(SAFE_BUILD / "libraries" / f"{name}.sol" / f"{name}.json")["bytecode"][2:])
    call = {"to": FACTORY, "data": "0x" + (bytes(32) + code).hex()}
    place = str(chain.rpc("eth_call", call, "latest"))
    chain.send(FACTORY, bytes(32) + code)
    assert len(chain.rpc("eth_getCode", place, "latest")) > 100
    return place


def signed(chain: Anvil, owner: LocalAccount, safe: str, to: str, data: bytes) -> bytes:
    fields = (to, 0, data, 1, 0, 0, 0, ZERO, ZERO)
    digest = chain.call(safe, TRANSACTION_HASH, *fields, 0)
    return data_of(EXECUTE, *fields, bytes(owner.unsafe_sign_hash(Hash32(digest)).signature))


def item(to: str, data: bytes) -> bytes:
    return b"\0" + bytes.fromhex(to[2:]) + bytes(32) + len(data).to_bytes(32, "big") + data


@pytest.mark.parametrize("name", ["MultiSend", "MultiSendCallOnly"])
def test_the_zero_address_in_a_batch_of_1_5_0_changes_the_owners_of_the_safe(chain: Anvil, name: str) -> None:
    place = deployed(chain, name)
    assert place in ITSELF_MULTI_SENDS
    owner: LocalAccount = Account.create()
    safe = chain.safe([owner.address], 1)
    batch = data_of("multiSend(bytes)", item(ZERO, data_of("addOwnerWithThreshold(address,uint256)", OWNER, 1)))
    call = signed(chain, owner, safe, place, batch)
    told = decode_call(call)
    assert (told.any("delegatecall"), told.any("governance")) == (False, True)
    assert f"call to the Safe itself: addOwnerWithThreshold makes {OWNER} an owner" in told.sentence()
    chain.send(safe, call)
    assert int.from_bytes(chain.call(safe, "isOwner(address)", OWNER), "big") == 1

"""JSON-RPC 2.0 of the emulated chain: what a wallet needs to send and follow transactions.

Quantities are hexadecimal without leading zeros, data is hexadecimal with two digits a byte (execution-apis). Batches
up to 100 calls.
"""

from collections.abc import Callable

import msgspec
from eth_hash.auto import keccak

from drills.emulator import evm
from drills.emulator.chain import Chain, Receipt
from drills.emulator.errors import EmulatorError, FieldError, RpcError
from drills.emulator.records import EvmCall

MAX_BATCH = 100
MAX_HISTORY = 1024
Params = list[object]
Method = Callable[[Chain, Params], object]
BLOOM = "0x" + "0" * 512


class RpcCall(msgspec.Struct, frozen=True):
    """One call."""

    method: str
    id: int | str | None = None
    params: list[object] = []
    jsonrpc: str = "2.0"


def handle(chain: Chain, body: bytes) -> object:
    """Answer one call or a batch; never raises for a bad call."""
    try:
        calls = msgspec.json.decode(body, type=RpcCall | list[RpcCall])
    except msgspec.MsgspecError as error:
        return _error(None, -32700, f"parse error: {error}")
    if isinstance(calls, RpcCall):
        return _one(chain, calls)
    if len(calls) > MAX_BATCH:
        return _error(None, -32600, f"batch of more than {MAX_BATCH} calls")
    return [_one(chain, call) for call in calls]


def _one(chain: Chain, call: RpcCall) -> object:
    method = METHODS.get(call.method)
    if method is None:
        return _error(call.id, -32601, f"the method {call.method[:80]} does not exist")
    try:
        return {"jsonrpc": "2.0", "id": call.id, "result": method(chain, call.params)}
    except RpcError as refused:
        return _error(call.id, refused.number, str(refused))
    except EmulatorError as refused:
        return _error(call.id, -32602, str(refused))


def _error(call_id: object, number: int, message: str) -> object:
    return {"jsonrpc": "2.0", "id": call_id, "error": {"code": number, "message": message}}


def _text(params: Params, index: int) -> str:
    value = params[index] if index < len(params) else None
    if not isinstance(value, str):
        raise FieldError(f"params[{index}]: a string is needed")
    return value


def _address(params: Params, index: int) -> str:
    return "0x" + evm.address_bytes(_text(params, index)).hex()


def _hex_bytes(text: str) -> bytes:
    try:
        return bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raise FieldError("data: not hexadecimal") from None


def _call(params: Params) -> EvmCall:
    value = params[0] if params else None
    if not isinstance(value, dict):
        raise FieldError("params[0]: a call object is needed")
    data = value.get("data") or value.get("input") or "0x"
    amount = value.get("value") or "0x0"
    if not isinstance(data, str) or not isinstance(amount, str) or not isinstance(value.get("to"), str):
        raise FieldError("params[0]: to, data and value are strings")
    try:
        return EvmCall("0x" + evm.address_bytes(value["to"]).hex(), int(amount, 16), _hex_bytes(data))
    except ValueError:
        raise FieldError("params[0].value: not hexadecimal") from None


def _balance(chain: Chain, params: Params) -> object:
    account = evm.to_caip10(_address(params, 0), chain.chain_id)
    return hex(chain.ledger.balance(account, chain.native_asset_id))


def _count(chain: Chain, params: Params) -> object:
    pending = len(params) > 1 and params[1] == "pending"
    return hex(chain.nonce(_address(params, 0), pending=pending))


def _estimate(chain: Chain, params: Params) -> object:
    return hex(chain.fees(_call(params)).gas)


def _fee_history(chain: Chain, params: Params) -> object:
    first = params[0] if params else 1
    try:
        count = first if isinstance(first, int) else int(str(first), 0)
    except ValueError:
        raise FieldError("params[0]: a number of blocks is needed") from None
    count = max(1, min(count, MAX_HISTORY))
    percentiles = params[2] if len(params) > 2 and isinstance(params[2], list) else []  # noqa: PLR2004 - third parameter
    history: dict[str, object] = {
        "oldestBlock": hex(chain.block - count + 1),
        "baseFeePerGas": [hex(chain.base_fee)] * (count + 1),
        "gasUsedRatio": [0.5] * count,
    }
    if percentiles:
        history["reward"] = [[hex(chain.priority_fee)] * len(percentiles)] * count
    return history


def _send(chain: Chain, params: Params) -> object:
    return chain.submit_raw(_hex_bytes(_text(params, 0)))


def _eth_call(chain: Chain, params: Params) -> object:
    call = _call(params)
    asset = next((a for a in chain.ledger.assets.values() if a.contract == call.to), None)
    if asset is None or call.data[:4] != evm.BALANCE_OF or len(call.data) != 4 + evm.WORD:
        return "0x"
    holder = evm.to_caip10("0x" + call.data[16:36].hex(), chain.chain_id)
    return "0x" + chain.ledger.balance(holder, asset.id).to_bytes(evm.WORD, "big").hex()


def _receipt(chain: Chain, params: Params) -> object:
    found = chain.receipts.get(_text(params, 0).lower())
    return None if found is None else _receipt_json(found)


def _receipt_json(receipt: Receipt) -> object:
    return {
        "transactionHash": receipt.tx_hash,
        "transactionIndex": "0x0",
        "blockHash": _block_hash(receipt.block),
        "blockNumber": hex(receipt.block),
        "from": receipt.sender,
        "to": receipt.transaction.call.to,
        "cumulativeGasUsed": hex(receipt.gas_used),
        "gasUsed": hex(receipt.gas_used),
        "effectiveGasPrice": hex(receipt.gas_price),
        "contractAddress": None,
        "logs": [],
        "logsBloom": BLOOM,
        "type": "0x2",
        "status": "0x1" if receipt.ok else "0x0",
    }


def _block_hash(number: int) -> str:
    return "0x" + keccak(f"block {number}".encode()).hex()


def _transaction(chain: Chain, params: Params) -> object:
    wanted = _text(params, 0).lower()
    mined = chain.receipts.get(wanted)
    waiting = next((p for p in chain.pool.values() if p.tx_hash == wanted), None)
    if mined is None and waiting is None:
        return None
    sender, tx = (mined.sender, mined.transaction) if mined is not None else (waiting.sender, waiting.transaction)  # type: ignore[union-attr] # one of both is set
    return {
        "hash": wanted,
        "from": sender,
        "to": tx.call.to,
        "nonce": hex(tx.nonce),
        "value": hex(tx.call.value),
        "input": "0x" + tx.call.data.hex(),
        "gas": hex(tx.fees.gas),
        "maxFeePerGas": hex(tx.fees.max_fee),
        "maxPriorityFeePerGas": hex(tx.fees.priority_fee),
        "chainId": hex(tx.chain_id),
        "type": "0x2",
        "blockNumber": None if mined is None else hex(mined.block),
    }


def _block(chain: Chain, params: Params) -> object:
    named = _text(params, 0)
    try:
        number = chain.block if named in {"latest", "pending", "safe", "finalized"} else int(named, 16)
    except ValueError:
        raise FieldError("params[0]: a block number or tag is needed") from None
    if number > chain.block:
        return None
    return {
        "number": hex(number),
        "hash": _block_hash(number),
        "parentHash": _block_hash(number - 1),
        "baseFeePerGas": hex(chain.base_fee),
        "transactions": [r.tx_hash for r in chain.receipts.values() if r.block == number],
    }


METHODS: dict[str, Method] = {
    "eth_chainId": lambda chain, _: hex(chain.chain_id),
    "net_version": lambda chain, _: str(chain.chain_id),
    "eth_blockNumber": lambda chain, _: hex(chain.block),
    "eth_getBlockByNumber": _block,
    "eth_getBalance": _balance,
    "eth_getTransactionCount": _count,
    "eth_gasPrice": lambda chain, _: hex(chain.base_fee + chain.priority_fee),
    "eth_maxPriorityFeePerGas": lambda chain, _: hex(chain.priority_fee),
    "eth_feeHistory": _fee_history,
    "eth_estimateGas": _estimate,
    "eth_sendRawTransaction": _send,
    "eth_getTransactionReceipt": _receipt,
    "eth_getTransactionByHash": _transaction,
    "eth_call": _eth_call,
    "eth_getCode": lambda _chain, _params: "0x",
    "eth_getStorageAt": lambda _chain, _params: "0x" + "00" * evm.WORD,
    "eth_getLogs": lambda _chain, _params: [],
}

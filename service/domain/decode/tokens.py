"""Calls of tokens: ERC-20, ERC-721, ERC-1155, permits (EIP-2612 and DAI's older form) and Uniswap's Permit2.

Rules: what is paid is claimed only of exactly the words that the call has; what is allowed is told even where words follow
that the contract would not look at, because it would act on the rest. An allowance that is set to nothing is a revocation.
A `permit` inside a call is somebody's signature being used: whoever sends it need not be the owner.
"""

from collections.abc import Callable
from typing import Final

from service.domain.decode.call import UNLIMITED, Arguments, Call, selector, units

Decoder = Callable[[str, Arguments], Call | None]


def _transfer(name: str, arguments: Arguments) -> Call | None:
    to, amount = arguments.address(0), arguments.number(1)
    if arguments.exact_words != 2 or to is None or amount is None:  # noqa: PLR2004  its arguments
        return None
    return Call(name, f"transfer of {amount} base units to {to}", to, amount)


def _transfer_from(name: str, arguments: Arguments) -> Call | None:
    owner, to, amount = arguments.address(0), arguments.address(1), arguments.number(2)
    if arguments.exact_words != 3 or owner is None or to is None or amount is None:  # noqa: PLR2004  its arguments
        return None
    return Call(name, f"moves {amount} base units (or the token of that number) from {owner} to {to}", to, amount)


def _safe_transfer(name: str, arguments: Arguments) -> Call | None:
    owner, to, token = arguments.address(0), arguments.address(1), arguments.number(2)
    if owner is None or to is None or token is None:
        return None
    return Call(name, f"moves token number {token} from {owner} to {to}", to)


def _safe_transfer_many(name: str, arguments: Arguments) -> Call | None:
    owner, to = arguments.address(0), arguments.address(1)
    token, amount = arguments.number(2), arguments.number(3)
    if owner is None or to is None or token is None or amount is None:
        return None
    return Call(name, f"moves {amount} of token number {token} from {owner} to {to}", to, amount)


def _safe_batch_transfer(name: str, arguments: Arguments) -> Call | None:
    owner, to, tokens = arguments.address(0), arguments.address(1), arguments.array(2)
    if owner is None or to is None:
        return None
    many = "many" if tokens is None else str(tokens[0])
    return Call(name, f"moves {many} kinds of token from {owner} to {to}", to)


def _approve(name: str, arguments: Arguments) -> Call | None:
    spender, amount = arguments.address(0), arguments.number(1)
    if spender is None or amount is None:
        return None
    return _allowance(name, spender, amount, more=name == "increaseAllowance")


def _decrease(name: str, arguments: Arguments) -> Call | None:
    spender, amount = arguments.address(0), arguments.number(1)
    if spender is None or amount is None:
        return None
    return Call(name, f"lowers what {spender} may spend by {amount} base units", spender, amount)


def _approve_all(name: str, arguments: Arguments) -> Call | None:
    operator, allowed = arguments.address(0), arguments.number(1)
    if allowed is None:
        return None
    who = operator or "somebody"
    told = f"lets {who} move every token of the collection" if allowed else f"no longer lets {who} move tokens"
    return Call(name, told, operator, unlimited_approval=allowed != 0)


def _permit(name: str, arguments: Arguments) -> Call | None:
    owner, spender, amount = arguments.address(0), arguments.address(1), arguments.number(2)
    if owner is None or spender is None or amount is None:
        return None
    return _allowance(name, spender, amount, of=owner)


def _permit_dai(name: str, arguments: Arguments) -> Call | None:
    owner, spender, allowed = arguments.address(0), arguments.address(1), arguments.number(4)
    if owner is None or spender is None or allowed is None:
        return None
    return _allowance(name, spender, UNLIMITED if allowed else 0, of=owner)


def _permit2_approve(name: str, arguments: Arguments) -> Call | None:
    token, spender, amount = arguments.address(0), arguments.address(1), arguments.number(2)
    if token is None or spender is None or amount is None:
        return None
    return _allowance(name, spender, amount, token=token)


def _permit2_single(name: str, arguments: Arguments) -> Call | None:
    """permit(owner, ((token, amount, expiration, nonce), spender, deadline), signature): the tuple stands in place."""
    owner, token, amount = arguments.address(0), arguments.address(1), arguments.number(2)
    spender = arguments.address(5)
    if owner is None or token is None or amount is None or spender is None:
        return None
    return _allowance(name, spender, amount, of=owner, token=token)


def _permit2_batch(name: str, arguments: Arguments) -> Call | None:
    """permit(owner, ((token, amount, expiration, nonce)[], spender, deadline), signature)."""
    batch = arguments.inside(1)
    details = None if batch is None else batch.array(0)
    spender = None if batch is None else batch.address(1)
    if details is None or spender is None:
        return None
    count, words = details
    amounts = [words.number(4 * i + 1) for i in range(count)]
    parts = []
    for i, amount in enumerate(amounts):
        if amount is None:
            return None
        parts.append(_allowance("permit", spender, amount, token=words.address(4 * i)))
    return Call(name, f"uses a signature for {count} allowances", spender, inners=tuple(parts))


def _permit2_transfer(name: str, arguments: Arguments) -> Call | None:
    owner, to = arguments.address(0), arguments.address(1)
    amount, token = arguments.number(2), arguments.address(3)
    if owner is None or to is None or amount is None or token is None:
        return None
    return Call(name, f"moves {amount} base units of token {token} from {owner} to {to}", to, amount)


def _permit2_signed_transfer(name: str, arguments: Arguments) -> Call | None:
    """permitTransferFrom(((token, amount), nonce, deadline), (to, requested), owner, signature)."""
    token, to, amount, owner = arguments.address(0), arguments.address(4), arguments.number(5), arguments.address(6)
    if token is None or to is None or amount is None or owner is None:
        return None
    return Call(name, f"moves {amount} base units of token {token} from {owner} to {to} by its signature", to, amount)


def _allowance(
    name: str, spender: str, amount: int, *, of: str | None = None, token: str | None = None, more: bool = False
) -> Call:
    what = f" of token {token}" if token else ""
    whose = f" of {of}" if of else ""
    if amount == 0 and not more:
        told = f"{name} takes back what {spender} may spend{what}{whose}"
    else:
        told = f"{name} lets {spender} spend{' more,' if more else ''} {units(amount)}{what}{whose}"
    return Call(name, told, spender, amount, unlimited_approval=amount >= UNLIMITED)


_BY_SIGNATURE: Final[dict[str, Decoder]] = {
    "transfer(address,uint256)": _transfer,
    "transferFrom(address,address,uint256)": _transfer_from,
    "safeTransferFrom(address,address,uint256)": _safe_transfer,
    "safeTransferFrom(address,address,uint256,bytes)": _safe_transfer,
    "safeTransferFrom(address,address,uint256,uint256,bytes)": _safe_transfer_many,
    "safeBatchTransferFrom(address,address,uint256[],uint256[],bytes)": _safe_batch_transfer,
    "approve(address,uint256)": _approve,
    "increaseAllowance(address,uint256)": _approve,
    "decreaseAllowance(address,uint256)": _decrease,
    "setApprovalForAll(address,bool)": _approve_all,
    "permit(address,address,uint256,uint256,uint8,bytes32,bytes32)": _permit,
    "permit(address,address,uint256,uint256,bool,uint8,bytes32,bytes32)": _permit_dai,
    "approve(address,address,uint160,uint48)": _permit2_approve,
    "permit(address,((address,uint160,uint48,uint48),address,uint256),bytes)": _permit2_single,
    "permit(address,((address,uint160,uint48,uint48)[],address,uint256),bytes)": _permit2_batch,
    "transferFrom(address,address,uint160,address)": _permit2_transfer,
    "permitTransferFrom(((address,uint256),uint256,uint256),(address,uint256),address,bytes)": _permit2_signed_transfer,
}
_BY_SELECTOR: Final = {selector(text): (text.partition("(")[0], decoder) for text, decoder in _BY_SIGNATURE.items()}


def token_call(head: bytes, arguments: Arguments) -> Call | None:
    """Return what a token's call does; None for any other call, and for one whose arguments are of another shape."""
    found = _BY_SELECTOR.get(head)
    return None if found is None else found[1](found[0], arguments)

"""Calls of tokens: ERC-20, -721, -777, -1155, -1363, -3009 and -6909, permits (EIP-2612 and older), Uniswap's Permit2.

Rules: what is paid is claimed only of exactly the words that the call has; another form is unknown, and whom a contract
that does not check would pay is listed. What gives rights is known by its selector alone, as such a contract would do it:
of an address the lower 20 bytes count, words that follow do not, and where words are missing the allowance is unlimited. An
allowance that is set to nothing is a revocation. A `permit` inside a call is somebody's signature being used: whoever sends
it need not be the owner. Lending (Aave, Compound, Morpho), Maker, Balancer and Safe's allowance module give rights, too.
"""

from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

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


def _decrease(name: str, arguments: Arguments) -> Call:
    return Call(name, f"lowers what {arguments.masked(0)} may spend by {arguments.loaded(1)} base units")


def _send(name: str, arguments: Arguments) -> Call | None:
    to, amount = arguments.address(0), arguments.number(1)
    if to is None or amount is None:
        return None
    return Call(name, f"{name} of {amount} base units to {to}", to, amount)


def _signed(name: str, arguments: Arguments) -> Call | None:
    owner, to, amount = arguments.address(0), arguments.address(1), arguments.number(2)
    if owner is None or to is None or amount is None:
        return None
    return Call(name, f"moves {amount} base units from {owner} to {to} by its signature", to, amount)


def _multi_sig_token(name: str, arguments: Arguments) -> Call | None:
    """BitGo's wallet contract."""
    to, amount, token = arguments.address(0), arguments.number(1), arguments.address(2)
    if to is None or amount is None or token is None:
        return None
    return Call(name, f"{name} of {amount} base units of token {token} to {to}", to, amount)


def _permit2_transfers(name: str, arguments: Arguments) -> Call:
    count, words = arguments.array(0) or (0, arguments)
    moves = tuple(_permit2_move(name, words, 4 * i) or _odd(name, words, 4 * i + 1) for i in range(count))
    return Call(name, f"{count} transfers", inners=moves, unknown=not count)


def _permit2_batch(name: str, arguments: Arguments) -> Call:
    """permit(owner, ((token, amount, expiration, nonce)[], spender, deadline), signature)."""
    batch = arguments.inside(1)
    details = None if batch is None else batch.array(0)
    if batch is None or details is None:
        return Call(name, f"{name} of allowances that cannot be read", unlimited_approval=True, unknown=True)
    spender, (count, words) = batch.masked(1), details
    parts = [words.number(4 * i + 1) for i in range(count)]
    inners = tuple(
        _allowance("permit", spender, UNLIMITED if amount is None else amount, token=words.masked(4 * i))
        for i, amount in enumerate(parts)
    )
    return Call(name, f"uses a signature for {count} allowances", spender, inners=inners)


def _permit2_transfer(name: str, arguments: Arguments) -> Call | None:
    return _permit2_move(name, arguments, 0)


def _permit2_move(name: str, arguments: Arguments, start: int) -> Call | None:
    owner, to = arguments.address(start), arguments.address(start + 1)
    amount, token = arguments.number(start + 2), arguments.address(start + 3)
    if owner is None or to is None or amount is None or token is None:
        return None
    return Call(name, f"moves {amount} base units of token {token} from {owner} to {to}", to, amount)


def _permit2_signed(name: str, arguments: Arguments) -> Call | None:
    """(((token, amount), nonce, deadline), (to, requested), owner, signature)."""
    token, to, amount, owner = arguments.address(0), arguments.address(4), arguments.number(5), arguments.address(6)
    if token is None or to is None or amount is None or owner is None:
        return None
    return Call(name, f"moves {amount} base units of token {token} from {owner} to {to} by its signature", to, amount)


class _Right(NamedTuple):
    """Where the words of a call that gives rights stand, without what follows them."""

    spender: int
    amount: int | None = None
    """None where everything is given."""
    owner: int | None = None
    token: int | None = None
    switch: bool = False
    """Whether `amount` is yes or no: everything or nothing."""
    more: bool = False
    """Whether it adds to what was given before."""


def _gives(name: str, arguments: Arguments, right: _Right) -> Call:
    """Return what a contract that checks nothing would allow."""
    last = max(at for at in (right.spender, right.amount, right.owner, right.token) if at is not None)
    amount = UNLIMITED if right.amount is None or arguments.words <= last else arguments.loaded(right.amount)
    owner = None if right.owner is None else arguments.masked(right.owner)
    if right.switch or right.amount is None:
        return _switched(name, arguments.masked(right.spender), owner, on=amount != 0)
    token = None if right.token is None else arguments.masked(right.token)
    return _allowance(name, arguments.masked(right.spender), amount, of=owner, token=token, more=right.more)


def _switched(name: str, spender: str, of: str | None, *, on: bool) -> Call:
    whose = f" of {of}" if of else ""
    if not on:
        return Call(name, f"{name} no longer lets {spender} move anything{whose}")
    return Call(name, f"{name} lets {spender} move everything{whose}", spender, unlimited_approval=True)


def _allowance(
    name: str, spender: str, amount: int, *, of: str | None = None, token: str | None = None, more: bool = False
) -> Call:
    what = f" of token {token}" if token else ""
    whose = f" of {of}" if of else ""
    if amount == 0 and not more:
        return Call(name, f"{name} takes back what {spender} may spend{what}{whose}", amount=0)
    told = f"{name} lets {spender} spend{' more,' if more else ''} {units(amount)}{what}{whose}"
    return Call(name, told, spender, amount, unlimited_approval=amount >= UNLIMITED)


def _odd(name: str, arguments: Arguments, to: int) -> Call:
    """A payment whose words are not its own: a contract that does not check may make it all the same."""
    paid = arguments.masked(to)
    return Call(
        "unknown call", f"unknown call: {name} in another form, perhaps to {paid}", others=(paid,), unknown=True
    )


_MOVES: Final[dict[str, tuple[Decoder, int]]] = {
    "transfer(address,uint256)": (_transfer, 0),
    "transferFrom(address,address,uint256)": (_transfer_from, 1),
    "send(address,uint256,bytes)": (_send, 0),
    "transferAndCall(address,uint256)": (_send, 0),
    "transferAndCall(address,uint256,bytes)": (_send, 0),
    "transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)": (_signed, 1),
    "transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,bytes)": (_signed, 1),
    "receiveWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)": (_signed, 1),
    "receiveWithAuthorization(address,address,uint256,uint256,uint256,bytes32,bytes)": (_signed, 1),
    "safeTransferFrom(address,address,uint256)": (_safe_transfer, 1),
    "safeTransferFrom(address,address,uint256,bytes)": (_safe_transfer, 1),
    "safeTransferFrom(address,address,uint256,uint256,bytes)": (_safe_transfer_many, 1),
    "safeBatchTransferFrom(address,address,uint256[],uint256[],bytes)": (_safe_batch_transfer, 1),
    "transferFrom(address,address,uint160,address)": (_permit2_transfer, 1),
    "permitTransferFrom(((address,uint256),uint256,uint256),(address,uint256),address,bytes)": (_permit2_signed, 4),
    "permitWitnessTransferFrom(((address,uint256),uint256,uint256),(address,uint256),address,bytes32,string,bytes)": (
        _permit2_signed,
        4,
    ),
    "sendMultiSigToken(address,uint256,address,uint256,uint256,bytes)": (_multi_sig_token, 0),
}
"""Payments, and whom they pay."""
_OTHERS: Final[dict[str, Callable[[str, Arguments], Call]]] = {
    "permit(address,((address,uint160,uint48,uint48)[],address,uint256),bytes)": _permit2_batch,
    "transferFrom((address,address,uint160,address)[])": _permit2_transfers,
    "decreaseAllowance(address,uint256)": _decrease,
    "decreaseApproval(address,uint256)": _decrease,
}
_RIGHTS: Final[dict[str, _Right]] = {
    "approve(address,uint256)": _Right(0, 1),
    "approveAndCall(address,uint256)": _Right(0, 1),
    "approveAndCall(address,uint256,bytes)": _Right(0, 1),
    "increaseAllowance(address,uint256)": _Right(0, 1, more=True),
    "increaseApproval(address,uint256)": _Right(0, 1, more=True),
    "setApprovalForAll(address,bool)": _Right(0, 1, switch=True),
    "authorizeOperator(address)": _Right(0),
    "setOperator(address,bool)": _Right(0, 1, switch=True),
    "approve(address,uint256,uint256)": _Right(0, 2),
    "permit(address,address,uint256,uint256,uint8,bytes32,bytes32)": _Right(1, 2, owner=0),
    "permit(address,address,uint256,uint256,bytes)": _Right(1, 2, owner=0),
    "permit(address,address,uint256,uint256,bool,uint8,bytes32,bytes32)": _Right(1, 4, owner=0, switch=True),
    "permitForAll(address,address,bool,uint256,uint256,bytes)": _Right(1, 2, owner=0, switch=True),
    # Permit2; in the second the details stand in place
    "approve(address,address,uint160,uint48)": _Right(1, 2, token=0),
    "permit(address,((address,uint160,uint48,uint48),address,uint256),bytes)": _Right(5, 2, owner=0, token=1),
    # Aave, Compound III, Morpho, Maker, Balancer, Safe's allowance module
    "approveDelegation(address,uint256)": _Right(0, 1),
    "delegationWithSig(address,address,uint256,uint256,uint8,bytes32,bytes32)": _Right(1, 2, owner=0),
    "allow(address,bool)": _Right(0, 1, switch=True),
    "allowBySig(address,address,bool,uint256,uint256,uint8,bytes32,bytes32)": _Right(1, 2, owner=0, switch=True),
    "setAuthorization(address,bool)": _Right(0, 1, switch=True),
    "setAuthorizationWithSig((address,address,bool,uint256,uint256),(uint8,bytes32,bytes32))": _Right(
        1, 2, owner=0, switch=True
    ),
    "hope(address)": _Right(0),
    "cdpAllow(uint256,address,uint256)": _Right(1, 2, switch=True),
    "setRelayerApproval(address,address,bool)": _Right(1, 2, owner=0, switch=True),
    "setAllowance(address,address,uint96,uint96,uint16,uint32)": _Right(0, 2, token=1),
}


def _known(text: str) -> Callable[[Arguments], Call]:
    name = text.partition("(")[0]
    if text in _RIGHTS:
        return lambda arguments: _gives(name, arguments, _RIGHTS[text])
    if text in _OTHERS:
        return partial(_OTHERS[text], name)
    decoder, to = _MOVES[text]
    return lambda arguments: decoder(name, arguments) or _odd(name, arguments, to)


_BY_SELECTOR: Final = {selector(text): _known(text) for text in (*_MOVES, *_OTHERS, *_RIGHTS)}


def token_call(head: bytes, arguments: Arguments) -> Call | None:
    """Return what a token's call does; None for any other call."""
    found = _BY_SELECTOR.get(head)
    return None if found is None else found(arguments)

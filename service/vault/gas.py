"""How much gas a transaction of an own wallet may use: what the node estimates, within bounds of ours.

Rules: the node is asked for each transaction by itself (`eth_estimateGas`), so that a destination which is a contract, a
token that needs more than others, and a chain that counts the room on another one as gas are paid for. Its word is bounded
both ways (`domain/evm.py` gas_limit), and a fixed figure stands in where it tells nothing. What is not used is not charged.
"""

from dataclasses import dataclass

from service.domain.errors import RefusedByOtherSideError, UnavailableError
from service.domain.evm import MOST_GAS, gas_limit
from service.ports.chain import EvmChain


@dataclass(frozen=True, slots=True)
class Call:
    """What a transaction is to do; `value` in wei."""

    sender: str
    to: str
    data: bytes = b""
    value: int = 0


@dataclass(frozen=True, slots=True)
class PlannedGas:
    """The gas limit of a transaction, and what the node says against it."""

    limit: int
    """NATIVE_GAS to MOST_GAS."""
    estimated: bool = True
    """Whether it is the node's estimate."""
    refusal: str = ""
    """The node's words where it says that it would be reverted; it may err or lie."""


def planned_gas(chain: EvmChain, call: Call, otherwise: int, used_in_vain: int = 0) -> PlannedGas:
    """Return the gas limit of a call, `otherwise` where the node tells none. Raises nothing of the chain's."""
    try:
        estimated = chain.estimate(call.sender, call.to, call.data, call.value)
    except RefusedByOtherSideError as error:
        return PlannedGas(gas_limit(None, otherwise, used_in_vain), estimated=False, refusal=str(error))
    except UnavailableError:
        return PlannedGas(gas_limit(None, otherwise, used_in_vain), estimated=False)
    return PlannedGas(gas_limit(estimated, otherwise, used_in_vain), estimated=estimated <= MOST_GAS)

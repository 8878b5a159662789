"""A real Zodiac Delay modifier on the test's chain.

The contracts are the creation code that npm's @gnosis.pm/zodiac ships (LGPL-3.0-or-later): installed for tests by npm,
never kept here.
"""

import re
from dataclasses import dataclass

from eth_abi.abi import encode

from tests.integration.multisig.conftest import SafeHouse
from tests.support.anvil import ETHER, data_of, npm_file

THIEF = "0x" + "bad0" * 10
COOLDOWN_S = 8 * 3600
QUEUE = "execTransactionFromModule(address,uint256,bytes,uint8)"
QUEUED = (THIEF, ETHER, b"", 0)


def creation_code(name: str) -> bytes:
    """Return the bytes that the package says create one of its contracts."""
    text = npm_file(f"@gnosis.pm/zodiac/dist/cjs/initData/{name}.js").read_text(encoding="utf-8")
    (found,) = re.findall('initCode = "0x([0-9a-f]+)"', text)
    return bytes.fromhex(found)


@dataclass
class Delay:
    """A Delay modifier that a Safe owns, and who may queue in it."""

    house: SafeHouse
    address: str
    proposer: str

    def queue(self, times: int = 1) -> None:
        for _ in range(times):
            self.house.chain.send(self.address, data_of(QUEUE, *QUEUED), sender=self.proposer)

    def execute(self) -> None:
        self.house.chain.send(self.address, data_of(f"executeNextTx{QUEUE[QUEUE.index('(') :]}", *QUEUED))

    def number(self, question: str) -> int:
        return int.from_bytes(self.house.chain.call(self.address, question), "big")


def made_delay(house: SafeHouse) -> Delay:
    """Make one as anybody does: a proxy of the master copy by its own factory, set up with the Safe as its owner."""
    master, factory = (
        str(house.chain.send(None, creation_code(name))["contractAddress"]) for name in ("Delay", "ModuleProxyFactory")
    )
    parts = encode(["address"] * 3 + ["uint256"] * 2, [house.address] * 3 + [COOLDOWN_S, 0])
    setup = data_of("setUp(bytes)", parts)
    made = house.chain.send(factory, data_of("deployModule(address,bytes,uint256)", master, setup, 1))
    (proxy,) = {str(log["address"]) for log in made["logs"]} - {factory}
    found = Delay(house, proxy, house.chain.people[3])
    for to, module in ((house.address, proxy), (proxy, found.proposer)):
        house.chain.send(house.address, house.signed(to, data_of("enableModule(address)", module), 0, 1))
    return found

"""Addresses of a drill: facts where the file gives them, otherwise derived from names, so that two runs use the same.

A derived address is the last 20 bytes of keccak-256 over a tagged name: nobody holds its key.
"""

from eth_hash.auto import keccak

from drills.scenario_form import Scenario

TAG = b"portcullis/drill/address/v1\0"


def derived(scenario: str, name: str) -> str:
    """Return the lower-case 0x address that a name of a scenario stands for."""
    return "0x" + keccak(TAG + f"{scenario}\0{name}".encode())[12:].hex()


def caip10(chain_id: int, address: str) -> str:
    """Return the CAIP-10 id of a 0x address, lower case."""
    return f"eip155:{chain_id}:{address.lower()}"


def of_destinations(scenario: Scenario) -> dict[str, str]:
    """Return the CAIP-10 address of each destination by its id."""
    return {d.id: caip10(scenario.chain_id, d.address or derived(scenario.name, d.id)) for d in scenario.destinations}


def of_accounts(scenario: Scenario, known: dict[str, str]) -> dict[str, str]:
    """Return the CAIP-10 address of each account: `known` first (what Portcullis says), then the file's, then derived."""
    return {
        a.id: known.get(a.id) or caip10(scenario.chain_id, a.address or derived(scenario.name, a.id))
        for a in scenario.accounts
    }


def fresh(scenario: Scenario, move: int, index: int) -> str:
    """Return the CAIP-10 address of the never-seen destination of one repetition of one move of the script."""
    return caip10(scenario.chain_id, derived(scenario.name, f"new/{move}/{index}"))

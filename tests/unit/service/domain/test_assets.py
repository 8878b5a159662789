"""Assets of an account are kept in one spelling."""

from service.domain.assets import spelt_once

TOKEN = "eip155:1/erc20:0x" + "ab" * 20
SOLANA = "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp/token:EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"


def test_contracts_of_evm_chains_are_in_lower_case_each_once_and_nothing_else_is_touched() -> None:
    mixed = TOKEN.replace("ab", "aB")
    assert spelt_once([SOLANA, mixed, "eip155:1/slip44:60", TOKEN]) == (SOLANA, TOKEN, "eip155:1/slip44:60")

import pytest

from service.domain.places import address_of, spelt

EVM = "0x" + "aB" * 20
BITCOIN = "bip122:000000000019d6689c085ae165831e93"
BECH32 = "BC1QYG3ZYG3ZYG3ZYG3ZYG3ZYG3ZYG3ZYG3ZC6V074"
BASE58 = "1BoatSLRHtKNngkdXEeobR76b53LETtpyT"


@pytest.mark.parametrize(
    ("place", "kept", "address"),
    [
        (EVM, EVM.lower(), EVM.lower()),
        (f"eip155:1:{EVM}", f"eip155:1:{EVM.lower()}", EVM.lower()),
        (f"eip155:137:0X{EVM[2:]}", f"eip155:137:{EVM.lower()}", EVM.lower()),
        (BECH32, BECH32.lower(), BECH32.lower()),
        (f"{BITCOIN}:{BECH32}", f"{BITCOIN}:{BECH32.lower()}", BECH32.lower()),
        (f"{BITCOIN}:{BASE58}", f"{BITCOIN}:{BASE58}", BASE58),
        (BASE58, BASE58, BASE58),
        ("a platform's id:X", "a platform's id:X", "a platform's id:X"),
        (f"{EVM}0", f"{EVM}0", f"{EVM}0"),
        ("", "", ""),
    ],
)
def test_a_place_is_kept_in_one_spelling_and_known_by_its_address(place: str, kept: str, address: str) -> None:
    assert (spelt(place), address_of(place)) == (kept, address)
    assert (spelt(kept), address_of(kept), address_of(address)) == (kept, address, address)

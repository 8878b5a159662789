"""Following: bounded everywhere, circles end, labels stop, nothing of nothing moves."""

from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.forensics.movement import Movement, Part
from service.domain.forensics.walk import (
    MOST_UNTOLD,
    AccountWalk,
    Known,
    Limits,
    Looked,
    OutputWalk,
    asked_about,
    follow,
    next_output,
    note_insides,
    read_block,
    start,
)

ASSET = "eip155:1/slip44:60"
KNOWN = Known(frozenset({"victim"}), frozenset({"safe"}), frozenset({"mixer"}))


def pay(number: int, giver: str, taker: str, amount: int = 5, block: int = 1) -> Movement:
    return Movement(
        id=f"{number:05}", transaction=str(number), block=block, position=number, at=0, asset=ASSET,
        sources=(Part(giver, giver, amount),), targets=(Part(taker, taker, amount),),
    )  # fmt: skip


def walk(*blocks: list[Movement], limits: Limits | None = None, known: Known = KNOWN) -> AccountWalk:
    found = AccountWalk(chain="eip155:1", first_block=1, next_block=1, last_block=len(blocks))
    for block in blocks:
        if found.is_done:
            break
        read_block(found, block, known, limits or Limits())
    return found


def test_a_whole_path_within_one_block_is_followed_and_openings_are_asked_once() -> None:
    found = AccountWalk(chain="eip155:1", first_block=1, next_block=1, last_block=1)
    wanted = read_block(found, [pay(1, "victim", "a"), pay(2, "a", "b"), pay(3, "b", "a"), pay(4, "x", "b")], KNOWN)
    assert found.watched == {"a": 1, "b": 2}
    assert wanted == [(ASSET, "a"), (ASSET, "b")]
    assert len(found.movements) == 4, "clean money that comes in between is kept"


def test_what_goes_to_us_is_no_theft_and_what_goes_to_a_service_ends_there() -> None:
    found = walk([pay(1, "victim", "safe"), pay(2, "victim", "mixer"), pay(3, "mixer", "z"), pay(4, "victim", "a", 0)])
    assert found.stolen == ["00002"]
    assert found.stops == {"mixer": "labelled"}
    assert not found.watched


def test_hops_addresses_movements_and_busy_addresses_are_bounded() -> None:
    chain = [pay(0, "victim", "h1"), *(pay(n, f"h{n}", f"h{n + 1}") for n in range(1, 30))]
    deep = walk(chain, limits=Limits(hops=3))
    assert deep.watched == {"h1": 1, "h2": 2, "h3": 3}
    assert deep.stops == {"h4": "hops"}
    fan = [pay(n, "victim", f"t{n}") for n in range(20)]
    assert len(walk(fan, limits=Limits(addresses=5)).watched) == 5
    many = walk(fan, [pay(99, "victim", "late", block=2)], limits=Limits(movements=10))
    assert many.cut
    assert many.next_block == 2
    busy = walk([pay(0, "victim", "b"), *(pay(n, "b", f"t{n}") for n in range(1, 20))], limits=Limits(per_address=9))
    assert busy.stops == {"b": "busy"}
    assert "b" not in busy.watched


def test_what_nobody_could_tell_is_counted_named_in_part_and_bounded() -> None:
    found = AccountWalk(chain="eip155:1", first_block=1, next_block=1, last_block=9)
    note_insides(found, Looked(2, {}, 2))
    note_insides(found, Looked(1, {f"0x{n}": f"because {n}" for n in range(30)}, 1))
    assert (found.looked_into, found.untold_in_all, found.untold_because) == (3, 30, "because 0")
    assert len(found.untold) == MOST_UNTOLD
    assert (found.asked, found.unasked) == (3, []), "what was not asked uses nothing up"


def test_past_the_limit_of_insides_nothing_is_asked_and_the_rest_is_read_on() -> None:
    found = walk([pay(1, "victim", "a")], [])
    found.last_block = 9
    limits = Limits(insides=34)
    note_insides(found, Looked(33, {}, 33), limits)
    assert asked_about(found, {"victim"}, limits) == {"victim", "a"}
    note_insides(found, Looked(1, {}, 1), limits)
    note_insides(found, Looked(), limits)
    assert asked_about(found, {"victim"}, limits) == set()
    assert found.unasked == ["transactions from block 3 on at all, after 34"]
    assert not found.is_done
    read_block(found, [pay(2, "a", "b")], KNOWN)
    assert found.watched == {"a": 1, "b": 2}


def test_one_address_uses_up_what_is_asked_about_itself_alone() -> None:
    found = walk([pay(1, "victim", "a"), pay(2, "victim", "b")])
    limits = Limits(insides_each=10)
    note_insides(found, Looked(9, {}, 9, {"a": 9, "b": 2}), limits)
    assert asked_about(found, {"victim"}, limits) == {"victim", "a", "b"}
    note_insides(found, Looked(3, {}, 3, {"a": 3}), limits)
    note_insides(found, Looked(1, {}, 1, {"a": 1}), limits)  # beside another who acts in it
    assert asked_about(found, {"victim"}, limits) == {"victim", "b"}
    assert found.unasked == ["transactions from block 2 on in which nobody who is followed acts but a, after 10"]
    note_insides(found, Looked(99, {}, 99, {f"c{n}": 10 for n in range(40)}), limits)
    assert len(found.unasked) == MOST_UNTOLD


def output(number: int, taken: list[str], given: list[tuple[str, int]]) -> Movement:
    name = f"{number:064x}"
    return Movement(
        id=name, transaction=name, block=number, position=0, at=0, asset="bip122:x/slip44:0",
        sources=tuple(Part(holder, f"at {holder}", 10) for holder in taken),
        targets=tuple(Part(f"{name}:{n}", address, amount) for n, (address, amount) in enumerate(given)),
    )  # fmt: skip


def test_outputs_are_followed_nearest_and_largest_first_and_only_the_largest() -> None:
    found = OutputWalk(chain="bip122:x")
    start(found, output(1, ["v:0"], [("a", 5_000), ("b", 9_000), ("c", 1), ("safe", 7_000), ("mixer", 8_000)]), KNOWN)
    assert [next_output(found).address for _ in range(2)] == ["b", "a"]
    assert found.stops == {"mixer": "labelled"}
    storm = OutputWalk(chain="bip122:x")
    start(storm, output(1, ["v:0"], [(f"d{n}", 2_000) for n in range(30_000)]), KNOWN, Limits(fan=10))
    assert len(storm.waiting) == 10
    assert storm.cut == ["29990 smaller outputs of one transaction were not followed: 59980000 satoshis in all"]


def test_the_same_theft_and_the_same_spender_count_once() -> None:
    found = OutputWalk(chain="bip122:x")
    theft = output(1, ["v:0"], [("a", 5_000), ("b", 5_000)])
    start(found, theft, KNOWN)
    start(found, theft, KNOWN)
    merge = output(2, [f"{theft.id}:0", f"{theft.id}:1"], [("c", 9_000)])
    for _ in range(2):
        follow(found, next_output(found), merge, KNOWN)
    assert [m.id for m in found.movements] == [theft.id, merge.id]
    follow(found, next_output(found), None, KNOWN)
    assert found.unspent == 1
    assert found.is_done


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(0, 3)), max_size=12), max_size=12)
)
def test_any_chain_is_walked_within_the_limits(blocks: list[list[tuple[int, int, int]]]) -> None:
    names = ["victim", "safe", "mixer", *(f"p{n}" for n in range(10))]
    number = 0
    made: list[list[Movement]] = []
    for height, block in enumerate(blocks, 1):
        made.append([])
        for giver, taker, amount in block:
            number += 1
            made[-1].append(pay(number, names[giver], names[taker], amount, block=height))
    limits = Limits(hops=3, addresses=4, movements=20, per_address=5)
    found = walk(*made, limits=limits)
    assert len(found.watched) <= 4
    assert all(1 <= hop <= 3 for hop in found.watched.values())
    assert not set(found.watched) & {"victim", "safe", "mixer"}
    assert len({m.id for m in found.movements}) == len(found.movements) <= 20 + 12
    assert found.is_done

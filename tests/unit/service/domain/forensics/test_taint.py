"""Poison, haircut and FIFO: by hand on small paths, and the laws that hold on any."""

from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.forensics.movement import Movement, Part, ordered
from service.domain.forensics.taint import Taint, tainted

ASSET = "eip155:1/slip44:60"


def pay(number: int, giver: str, taker: str, amount: int) -> Movement:
    return Movement(
        id=str(number), transaction=str(number), block=number, position=0, at=number, asset=ASSET,
        sources=(Part(giver, giver, amount),), targets=(Part(taker, taker, amount),),
    )  # fmt: skip


def spend(number: int, sources: list[tuple[str, int]], targets: list[tuple[str, int]], block: int = 1) -> Movement:
    return Movement(
        id=f"{number:04}", transaction=f"{number:04}", block=block, position=0, at=0, asset="bip122:x/slip44:0",
        sources=tuple(Part(f"{holder}:0", holder, amount) for holder, amount in sources),
        targets=tuple(Part(f"{holder}:0", holder, amount) for holder, amount in targets),
    )  # fmt: skip


def test_the_three_methods_answer_three_questions() -> None:
    path = [pay(1, "victim", "a", 40), pay(2, "clean", "a", 60), pay(3, "a", "b", 50)]
    found = tainted(path, {"1"}, {(ASSET, "a"): 10})
    assert found.by_movement["3"] == (Taint(poison=50, haircut=40 * 50 // 110, fifo=40),)
    assert found.by_movement["2"] == (Taint(),)
    assert found.resting[ASSET, "a"].fifo == 0


def test_money_that_nobody_saw_coming_was_there_first_and_is_clean() -> None:
    found = tainted([pay(1, "victim", "a", 40), pay(2, "a", "b", 100)], {"1"}, {})
    assert found.by_movement["2"] == (Taint(poison=100, haircut=40, fifo=40),)
    found = tainted([pay(1, "victim", "a", 40), pay(2, "a", "b", 61)], {"1"}, {(ASSET, "a"): 21})
    assert found.by_movement["2"][0].fifo == 40


def test_inputs_and_outputs_are_matched_in_their_order_and_the_fee_is_last() -> None:
    path = [
        spend(1, [("victim", 40)], [("a", 40)]),
        spend(2, [("clean", 60), ("a", 40)], [("c", 70), ("d", 25)]),
    ]
    found = tainted(ordered(path), {"0001"}, {})
    assert [t.fifo for t in found.by_movement["0002"]] == [10, 25]
    assert [t.haircut for t in found.by_movement["0002"]] == [28, 10]
    assert found.fees["bip122:x/slip44:0"] == Taint(poison=5, haircut=2, fifo=5)


def test_what_was_made_in_a_block_comes_before_what_spends_it_there() -> None:
    made, spent = spend(9, [("v", 5)], [("a", 5)]), spend(1, [("a", 5)], [("b", 5)])
    assert ordered([spent, made]) == [made, spent]
    circle = [spend(1, [("b", 5)], [("a", 5)]), spend(2, [("a", 5)], [("b", 5)])]
    assert len(ordered(circle)) == 2, "a chain of lies ends, too"


people = st.sampled_from(["a", "b", "c", "d"])


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(people, people, st.integers(1, 1000)), max_size=40),
    st.integers(1, 10_000),
    st.dictionaries(people, st.integers(0, 500)),
)
def test_stolen_money_is_neither_made_nor_lost(
    payments: list[tuple[str, str, int]], theft: int, before: dict[str, int]
) -> None:
    path = [pay(0, "victim", "a", theft)]
    path += [pay(number, giver, taker, amount) for number, (giver, taker, amount) in enumerate(payments, 1)]
    found = tainted(path, {"0"}, {(ASSET, holder): amount for holder, amount in before.items()})
    for method in ("haircut", "fifo"):
        assert sum(getattr(t, method) for t in found.resting.values()) == theft
    for movement in path:
        (taint,) = found.by_movement[movement.id]
        amount = movement.targets[0].amount
        assert 0 <= taint.haircut <= amount
        assert 0 <= taint.fifo <= amount
        assert taint.poison in (0, amount)
        assert taint.poison == amount or not (taint.haircut or taint.fifo), "poison is the widest net"


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_outputs_keep_every_unit_to_the_fee(data: st.DataObject) -> None:
    holders: list[tuple[str, int]] = [("stolen", data.draw(st.integers(1, 10_000)))]
    path = [spend(0, [("victim", holders[0][1])], holders)]
    for number in range(1, data.draw(st.integers(1, 15))):
        taken = [holders.pop(data.draw(st.integers(0, len(holders) - 1))) for _ in range(min(2, len(holders)))]
        taken.append((f"clean{number}", data.draw(st.integers(1, 5_000))))
        left, made = sum(amount for _, amount in taken), []
        for part in range(data.draw(st.integers(1, 3))):
            amount = data.draw(st.integers(0, left))
            left -= amount
            made.append((f"h{number}-{part}", amount))
        path.append(spend(number, taken, made, block=number))
        holders += made
    found = tainted(ordered(path), {"0000"}, {})
    for method in ("haircut", "fifo"):
        kept = sum(getattr(t, method) for t in (*found.resting.values(), *found.fees.values()))
        assert kept == path[0].targets[0].amount


def test_a_long_peel_chain_is_put_in_order_quickly() -> None:
    chain = [spend(n, [(f"h{n}", 5)], [(f"h{n + 1}", 5)]) for n in range(5_000)]
    assert ordered(reversed(chain)) == chain

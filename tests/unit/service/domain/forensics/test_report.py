"""What the evidence says of a trace that asked no more what contracts paid."""

from typing import Any

from service.domain.forensics.report import Gathered, Walked, build
from service.domain.forensics.walk import LIMITS, AccountWalk, Looked, note_insides, read_block
from tests.unit.service.domain.forensics.test_walk import KNOWN, pay


def test_where_it_was_asked_no_more_the_trace_is_not_complete_and_says_so() -> None:
    walk = AccountWalk(chain="eip155:1", first_block=1, next_block=1, last_block=3)
    gathered = Gathered("inc_1", [Walked(walk, {}, KNOWN.victims, KNOWN.own)])
    read_block(walk, [pay(1, "victim", "a")], KNOWN)
    note_insides(walk, Looked(LIMITS.insides_each, {}, LIMITS.insides_each, {"a": LIMITS.insides_each}))
    read_block(walk, [pay(2, "a", "b")], KNOWN)
    read_block(walk, [], KNOWN)
    report: Any = build(gathered)
    assert walk.is_done
    (chain,) = report["chains"]
    assert (chain["complete"], chain["cut"], len(chain["movements"])) == (False, [], 2)
    (note,) = report["notes"]
    assert "not asked for inside transactions from block 2 on in which nobody who is followed acts but a" in note
    walk.asked_of, walk.unasked = {}, []
    report = build(gathered)
    assert report["chains"][0]["complete"]

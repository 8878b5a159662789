"""Looking through logs at endpoints that answer for few blocks at once: nothing is missed, and what is left is said."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from service.chain.evm_logs import LADDER, MOST_LOGS, PATIENCE, Log, LogReader, Topics
from service.domain.errors import UnavailableError

TOKEN = "0x" + "ab" * 20
TOPICS: Topics = ([b"\x01" * 32], [b"\x02" * 32])
NEVER = 1e9


@dataclass
class Endpoint:
    """Answers for `most` blocks at once; each question takes a second of its clock."""

    most: int = 10**15
    at: dict[int, int] = field(default_factory=dict)
    """Number of a log by its block."""
    asked: list[tuple[int, int]] = field(default_factory=list)
    now: float = 0.0

    def ask(self, contracts: Sequence[str], topics: Topics, first: int, last: int) -> Sequence[Log]:
        assert (list(contracts), topics) == ([TOKEN], TOPICS)
        self.now += 1
        self.asked.append((first, last))
        if last - first + 1 > self.most:
            raise UnavailableError("ranges over what I like are not supported")
        return [log(number) for block, number in self.at.items() if first <= block <= last]

    def reader(self) -> LogReader:
        return LogReader(self.ask, lambda: self.now)


def log(number: int) -> Log:
    return TOKEN, (number.to_bytes(32, "big"),)


def numbers(found: Sequence[Log]) -> set[int]:
    return {int.from_bytes(topics[0], "big") for _, topics in found}


def test_an_endpoint_without_limits_is_asked_once_and_then_for_what_is_not_final() -> None:
    endpoint = Endpoint(at={5: 1})
    reader = endpoint.reader()
    found = reader.read([TOKEN.upper().replace("X", "x")], TOPICS, (1_000, 900), NEVER)
    assert (numbers(found.logs), found.unread) == ({1}, "")
    endpoint.at[950] = 2  # a reorganisation put it there
    assert numbers(reader.read([TOKEN], TOPICS, (1_010, 950), NEVER).logs) == {1, 2}
    assert endpoint.asked == [(0, 1_000), (901, 1_010)]


def test_what_is_refused_is_asked_again_over_fewer_blocks_the_newest_first() -> None:
    endpoint = Endpoint(most=10_000, at={0: 1, 24_999: 2, 25_000: 3})
    found = endpoint.reader().read([TOKEN], TOPICS, (25_000, 25_000), NEVER)
    assert (numbers(found.logs), found.unread) == ({1, 2, 3}, "")
    assert endpoint.asked == [(0, 25_000), (15_001, 25_000), (5_001, 15_000), (0, 5_000)]


def test_the_newest_are_told_first_also_within_an_answer_and_when_they_came_later() -> None:
    endpoint = Endpoint(most=10_000, at={0: 1, 24_998: 2, 24_999: 3, 25_000: 4})
    reader = endpoint.reader()
    assert list(reader.read([TOKEN], TOPICS, (25_000, 25_000), NEVER).logs) == [log(4), log(3), log(2), log(1)]
    endpoint.at |= {25_001: 5, 25_002: 2}
    again = reader.read([TOKEN], TOPICS, (25_002, 25_000), NEVER).logs
    assert list(again) == [log(2), log(5), log(4), log(3), log(1)]


def test_what_time_did_not_suffice_for_is_said_and_gone_on_with() -> None:
    endpoint = Endpoint(most=1_000, at={100: 1, 9_500: 2})
    reader = endpoint.reader()
    first = reader.read([TOKEN], TOPICS, (10_000, 9_990), 6)
    assert numbers(first.logs) == {2}
    assert "blocks 0 to 8000 were not looked through for logs: the time was over" in first.unread
    second = reader.read([TOKEN], TOPICS, (10_005, 9_999), endpoint.now + 4)
    assert endpoint.asked[-4:] == [(9_991, 10_005), (7_001, 8_000), (6_001, 7_000), (5_001, 6_000)]
    assert "blocks 0 to 5000" in second.unread
    third = reader.read([TOKEN], TOPICS, (10_005, 9_999), NEVER)
    assert (numbers(third.logs), third.unread) == ({1, 2}, "")


def test_an_endpoint_that_refuses_everything_is_no_endpoint_without_logs() -> None:
    endpoint = Endpoint(most=0)
    found = endpoint.reader().read([TOKEN], TOPICS, (10**6, 10**6), NEVER)
    assert found.unread == (
        "blocks 0 to 1000000 were not looked through for logs: ranges over what I like are not supported"
    )
    assert [last - first + 1 for first, last in endpoint.asked] == [10**6 + 1, *LADDER[1:]]


def test_more_is_asked_again_after_many_good_answers() -> None:
    endpoint = Endpoint(most=10)
    reader = endpoint.reader()
    reader.read([TOKEN], TOPICS, (10_000, 10_000), len(LADDER))
    endpoint.most = 10**9
    reader.read([TOKEN], TOPICS, (10_000, 10_000), NEVER)
    assert (endpoint.asked[-1][0], len(endpoint.asked) < len(LADDER) + 2 * PATIENCE + 20) == (0, True)


def test_a_chain_that_went_back_behind_what_was_final_is_not_believed() -> None:
    reader = Endpoint().reader()
    assert not reader.read([TOKEN], TOPICS, (100, 90), NEVER).unread
    assert "the newest block was told as 89, after 90" not in reader.read([TOKEN], TOPICS, (90, 80), NEVER).unread
    assert "told as 5" in reader.read([TOKEN], TOPICS, (5, 1), NEVER).unread


def test_no_more_is_remembered_than_the_bound() -> None:
    endpoint = Endpoint(most=10_000, at=dict(enumerate(range(MOST_LOGS + 5), start=10_000)))
    found = endpoint.reader().read([TOKEN], TOPICS, (40_000, 40_000), NEVER)
    assert MOST_LOGS <= len(found.logs) <= MOST_LOGS + 10_000
    assert f"there are over {MOST_LOGS} others" in found.unread


def test_nothing_is_asked_where_no_contract_is_registered() -> None:
    endpoint = Endpoint()
    assert not endpoint.reader().read([], TOPICS, (10, 10), NEVER).unread
    assert endpoint.asked == []


@given(
    st.integers(1, 3_000),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 60), st.integers(0, 9)), min_size=1, max_size=5),
    st.data(),
)
def test_no_log_is_missed_wherever_the_questions_end(
    most: int, steps: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    """Whenever nothing is said to be unread, every log up to the newest block was found."""
    endpoint = Endpoint(most=max(most, LADDER[-1]))
    reader = endpoint.reader()
    newest = data.draw(st.integers(0, 3_000))
    for number, (grown, depth, seconds) in enumerate(steps):
        newest += grown
        block = data.draw(st.integers(max(0, newest - grown + 1), newest) if grown else st.just(newest + 1))
        if block <= newest:
            endpoint.at[block] = number
        found = reader.read([TOKEN], TOPICS, (newest, max(0, newest - depth)), endpoint.now + seconds)
        if not found.unread:
            assert numbers(found.logs) == {n for at, n in endpoint.at.items() if at <= newest}
    last = reader.read([TOKEN], TOPICS, (newest, newest), NEVER)
    assert (numbers(last.logs), last.unread) == (set(endpoint.at.values()), "")

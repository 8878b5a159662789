"""What is read without a parser is what the parser reads; everything unusual is left to the parser."""

import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.api.plain import MAX_HEAD_BYTES, MAX_HEADERS, PlainRequest, plain_request
from service.domain.wire import MAX_BODY_BYTES


def written(
    body: bytes = b"{}", *, start: bytes = b"POST /webhooks/std HTTP/1.1", more: tuple[bytes, ...] = (), told: int = -1
) -> bytes:
    length = b"Content-Length: %d" % (len(body) if told < 0 else told)
    return b"\r\n".join((start, b"Host: here", length, *more, b"", body))


class Parsed:
    """What the server's parser makes of bytes."""

    def __init__(self, data: bytes) -> None:
        self.url, self.body = b"", b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.begun = self.ended = 0
        parser = httptools.HttpRequestParser(self)
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        parser.feed_data(data)
        self.method, self.version, self.keeps = (
            parser.get_method(),
            parser.get_http_version(),
            parser.should_keep_alive(),
        )
        self.upgrades = parser.should_upgrade()

    def on_message_begin(self) -> None:
        self.begun += 1

    def on_message_complete(self) -> None:
        self.ended += 1

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self.body += body


def agrees(found: PlainRequest, data: bytes) -> bool:
    parsed = Parsed(data)
    return (
        (parsed.method, parsed.version, parsed.begun, parsed.ended) == (b"POST", "1.1", 1, 1)
        and parsed.keeps
        and not parsed.upgrades
        and parsed.url == b"/webhooks/" + found.name.encode()
        and parsed.body == found.body
        and len(parsed.headers) == len(found.headers)
        and dict(parsed.headers) == dict(found.headers)
    )


def test_a_usual_request_is_read() -> None:
    data = written(b'{"a": 1}', more=(b"Webhook-Id:  msg_1", b"connection: Keep-Alive", b"x: a:b"))
    found = plain_request(data)
    assert found is not None
    assert (found.name, found.body) == ("std", b'{"a": 1}')
    assert found.headers[b"webhook-id"] == b"msg_1"
    assert found.headers[b"x"] == b"a:b"
    assert agrees(found, data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        written()[:-1],
        written() + b"P",
        written() + written(),
        written(told=1),
        written(start=b"POST /webhooks/std HTTP/1.0"),
        written(start=b"POST /webhooks/std  HTTP/1.1"),
        written(start=b"POST /webhooks/std?a=b HTTP/1.1"),
        written(start=b"POST /webhooks/st%64 HTTP/1.1"),
        written(start=b"POST /webhooks/ HTTP/1.1"),
        written(start=b"POST /webhooks/a/b HTTP/1.1"),
        written(start=b"POST /webhooks/" + b"a" * 65 + b" HTTP/1.1"),
        written(start=b"HEAD /webhooks/std HTTP/1.1"),
        written(more=(b"Content-Length: 2",)),
        written(more=(b"webhook-id: a", b"Webhook-Id: b")),
        written(more=(b"Transfer-Encoding: chunked",)),
        written(more=(b"transfer-encoding : chunked",)),
        written(more=(b"Expect: 100-continue",)),
        written(more=(b"Connection: close",)),
        written(more=(b"Connection: keep-alive, upgrade", b"Upgrade: websocket")),
        written(more=(b"x: folded", b" further: on")),
        written(more=(b"x: a\nb: c",)),
        written(more=(b"x: a\rb: c",)),
        written(more=(b"x: a\0",)),
        written(more=(b"x: \xe9",)),
        written(more=(b"no colon",)),
        written(more=(b": no name",)),
        written(more=tuple(b"x%d: y" % at for at in range(MAX_HEADERS))),
        written(more=(b"x: " + b"y" * MAX_HEAD_BYTES,)),
        written(b"x" * (MAX_BODY_BYTES + 1)),
        written().replace(b"Content-Length: 2", b"Content-Length: 02"),
        written().replace(b"Content-Length: 2", b"Content-Length: +2"),
    ],
)
def test_what_is_unusual_is_left_to_the_parser(data: bytes) -> None:
    assert plain_request(data) is None


def test_the_limits_themselves_are_read() -> None:
    most = written(more=tuple(b"x%d: y" % at for at in range(MAX_HEADERS - 2)))
    assert plain_request(most) is not None
    assert plain_request(written(b"x" * MAX_BODY_BYTES)) is not None


_PIECES = st.sampled_from(
    [b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b": ", b"\0", b"x: y\r\n", b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n",
     b"Connection: close\r\n", b"Content-Length: 2\r\n", b"HTTP/1.1", b"%20", b"?", b"#", b"\xff", b"POST /webhooks/a"]
)  # fmt: skip


@given(st.integers(0, 90), st.one_of(_PIECES, st.binary(max_size=4)), st.integers(0, 3))
@example(0, b"\r\n", 0)
def test_whatever_is_put_into_a_request_the_parser_reads_the_same_or_reads_it_alone(
    at: int, piece: bytes, taken_out: int
) -> None:
    data = written(b'{"a": "b"}', more=(b"webhook-id: msg_1",))
    changed = data[:at] + piece + data[at + taken_out :]
    found = plain_request(changed)
    if found is not None:
        assert agrees(found, changed)

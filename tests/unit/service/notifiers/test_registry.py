"""A channel's secret is opened with exactly what set-up bound it to."""

from service.domain.setup import channel_aad
from service.notifiers.http import SignedWebhookChannel
from service.notifiers.registry import UnusableChannel, channels_from
from service.ports.store.registry import ChannelRow


def rows() -> list[ChannelRow]:
    config = {"url": "https://receiver.test/hook"}
    return [ChannelRow(name, "webhook", config, f"sealed for {name}".encode()) for name in ("hook", "other")]


def test_the_secret_of_each_channel_is_opened_under_its_own_binding() -> None:
    asked: list[tuple[bytes, bytes]] = []

    def unseal(sealed: bytes, aad: bytes) -> bytes:
        asked.append((sealed, aad))
        return b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

    found = channels_from(rows(), unseal)
    assert asked == [(b"sealed for hook", channel_aad("hook")), (b"sealed for other", channel_aad("other"))]
    assert not any(isinstance(channel, UnusableChannel) for channel in found.values())
    assert all(isinstance(channel, SignedWebhookChannel) for channel in found.values())

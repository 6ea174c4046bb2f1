"""How good a call's audio was: packets, loss, jitter, round trip, and a MOS from them.

The MOS is an estimate by the E-model (ITU-T G.107) with its default values but for two things that
the phone measures: delay (Id, as R. Cole and J. Rosenbluth simplify it, 2001) and loss of packets
(Ie-eff, with the values of G.113, appendix I). It is for what is heard at this end, and for G.711
alone: for other codecs the pair of values of the very implementation would be needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

BEST_R = 93.2  # the E-model with all its defaults
LOSS_ROBUSTNESS = {"PCMU/8000": 25.1, "PCMA/8000": 25.1}  # Bpl, G.711 with concealment; its Ie is 0
PACKET_MS = 20.0  # audio in a packet: it is late by so much before it is sent
NOTICED_MS = 177.3  # one way; more delay disturbs a conversation


@dataclass(frozen=True, slots=True)
class Received:
    """One direction of a stream, as its receiver counted it; jitter in ms, None if not known.

    ``lost`` packets never came; ``discarded`` ones came too late, or twice.
    """

    packets: int = 0
    bytes: int = 0
    lost: int = 0
    discarded: int = 0
    jitter_ms: float | None = None
    jitter_max_ms: float | None = None

    @property
    def loss(self) -> float:
        """The part, 0 to 1, of the packets that could not be heard."""
        expected = self.packets + self.lost
        return min((self.lost + self.discarded) / expected, 1.0) if expected else 0.0


@dataclass(frozen=True, slots=True)
class Stream:
    """One audio stream. ``sent`` is what the other side reports by RTCP of what we sent; its
    packets and bytes are our own count. ``rtt_ms`` is None if RTCP had no time to measure it;
    ``buffer_ms`` is how long the jitter buffer kept audio, on average."""

    codec: str
    sent: Received
    received: Received
    rtt_ms: float | None = None
    buffer_ms: float = 0.0


def mos(codec: str, loss: float, delay_ms: float) -> float | None:
    """Mean opinion score, 1.0 (bad) to 4.5; None for a codec that the model has no values for.

    ``loss`` is 0 to 1, at random; ``delay_ms`` from mouth to ear, one way.
    """
    robustness = LOSS_ROBUSTNESS.get(codec.upper())
    if robustness is None:
        return None
    percent = 100 * loss
    late = 0.024 * delay_ms + 0.11 * max(delay_ms - NOTICED_MS, 0)
    r = BEST_R - late - 95 * percent / (percent + robustness)
    if r <= 0:
        return 1.0
    return 1 + 0.035 * r + r * (r - 60) * (100 - r) * 7e-6


def quality(streams: Sequence[Stream]) -> dict[str, object] | None:
    """The facts of a ``quality`` event, of all streams of a call; None if there was no audio.

    Counts are sums; jitter is the mean over the packets; codec and round trip are the last known.
    """
    if not streams:
        return None
    sent = _together([s.sent for s in streams])
    received = _together([s.received for s in streams])
    codec = streams[-1].codec
    rtt = next((s.rtt_ms for s in reversed(streams) if s.rtt_ms is not None), None)
    delay = (rtt or 0.0) / 2 + streams[-1].buffer_ms + PACKET_MS
    score = mos(codec, received.loss, delay) if received.packets else None
    return {
        "codec": codec,
        "sent_packets": sent.packets,
        "sent_bytes": sent.bytes,
        "sent_lost": sent.lost,
        "sent_jitter_ms": _rounded(sent.jitter_ms),
        "received_packets": received.packets,
        "received_bytes": received.bytes,
        "lost": received.lost,
        "discarded": received.discarded,
        "loss_percent": round(100 * received.loss, 2),
        "jitter_ms": _rounded(received.jitter_ms),
        "jitter_max_ms": _rounded(received.jitter_max_ms),
        "rtt_ms": _rounded(rtt),
        "mos": _rounded(score),
    }


def _together(parts: Sequence[Received]) -> Received:
    jitters = [(p.jitter_ms, p.packets) for p in parts if p.jitter_ms is not None]
    weight = sum(packets for _, packets in jitters)
    highest = [p.jitter_max_ms for p in parts if p.jitter_max_ms is not None]
    return Received(
        packets=sum(p.packets for p in parts),
        bytes=sum(p.bytes for p in parts),
        lost=sum(p.lost for p in parts),
        discarded=sum(p.discarded for p in parts),
        jitter_ms=sum(j * n for j, n in jitters) / weight if weight else None,
        jitter_max_ms=max(highest, default=None),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)

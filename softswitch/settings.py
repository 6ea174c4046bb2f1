"""What the parts of a switch are limited by, from its configuration."""

from __future__ import annotations

from dataclasses import replace

from softswitch.calls import (
    BACK,
    COMPLETE,
    CONSULT,
    PAUSE,
    RECORD,
    TRANSFER,
    CallSettings,
    InCallCodes,
)
from softswitch.config import Tap
from softswitch.configuration import Config
from softswitch.features import CompletionSettings
from softswitch.media import PoolSettings
from softswitch.messages import MessageSettings
from softswitch.notifier import NotifierSettings
from softswitch.parties import GuessLimits
from softswitch.parties import Settings as RegistrarSettings
from softswitch.sip import TimerSettings, is_numeric


def timers_of(config: Config) -> TimerSettings:
    timers = config.timers
    return TimerSettings(timers.t1, timers.t2, timers.t4, timers.trying)


def _session_lines(expires: int, least: int) -> str:
    if not expires:
        return ""
    return f"Session-Expires: {expires}\r\n" + (f"Min-SE: {least}\r\n" if least > 90 else "")


def call_settings(config: Config) -> CallSettings:
    timers, limits = config.timers, config.limits
    return CallSettings(
        no_response=timers.no_response,
        session_check=timers.session_check,
        max_duration=timers.max_duration,
        max_redirects=limits.max_redirects,
        max_forwards=limits.max_forwards,
        call_id_header=config.switch.call_id_header,
        max_text=limits.max_text,
        max_transfers=limits.max_transfers,
        ring_back=timers.ring_back,
        parked=timers.parked,
        session_expires=timers.session_expires,
        min_se=timers.min_se,
        max_passed=limits.max_passed,
        early_dialogs=limits.max_early_dialogs,
        completion_ring=timers.completion_ring,
        trunk_pause=timers.trunk_pause,
        session_lines=_session_lines(timers.session_expires, timers.min_se),
    )


def pool_settings(config: Config) -> PoolSettings:
    """Of the media workers: none are kept ready where nothing is played."""
    media = config.media
    spare = media.spare if config.dialplan.plays() or records(config) or taps(config) else 0
    return PoolSettings(
        spare,
        media.workers if media.spare else 0,
        media.worker_calls,
        ports=media.ports or (0, 0),
        addresses=(media.address,) if media.address else _addresses(config),
        lazily=media.transcode and media.spare > 0,
    )


def records(config: Config) -> bool:
    """Whether some talk may be recorded."""
    return (
        config.dialplan.records() or bool(config.in_call.record) or bool(recorded_parties(config))
    )


def taps(config: Config) -> list[Tap]:
    """The programs that may listen to talks."""
    return config.dialplan.taps() + list(tapped_parties(config).values())


def tapped_parties(config: Config) -> dict[str, Tap]:
    """Whose talks they listen to, each of whom one does."""
    found = [(f"extension:{name}", one.tap) for name, one in config.extensions.items()]
    found += [(f"trunk:{name}", one.tap) for name, one in config.trunks.items()]
    return {party: tap for party, tap in found if tap is not None}


def recorded_parties(config: Config) -> frozenset[str]:
    """Whose talks are."""
    return frozenset(
        [f"extension:{name}" for name, one in config.extensions.items() if one.record]
        + [f"trunk:{name}" for name, one in config.trunks.items() if one.record]
    )


def _addresses(config: Config) -> tuple[str, ...]:
    """By which phones know this switch, as far as the configuration says it; but few."""
    hosts = [listen.host for listen in config.switch.listen]
    return tuple(dict.fromkeys(h for h in hosts if is_numeric(h) and h not in ("0.0.0.0", "::")))[
        :4
    ]


def completion_settings(config: Config) -> CompletionSettings:
    timers = config.timers
    return CompletionSettings(
        timers.completion, timers.completion_pause, config.limits.max_completions
    )


def in_call_codes(config: Config) -> InCallCodes | None:
    """What phones may dial within calls; None if nothing."""
    section = config.in_call
    written = {
        section.transfer: TRANSFER,
        section.consult: CONSULT,
        section.complete: COMPLETE,
        section.back: BACK,
        section.record: RECORD,
        section.pause: PAUSE,
    }
    written.pop("", None)
    if not written:
        return None
    return InCallCodes(written, config.timers.digits, config.limits.max_number)


def notifier_settings(config: Config) -> NotifierSettings:
    timers, limits = config.timers, config.limits
    return NotifierSettings(
        shortest=timers.min_subscription,
        usual=timers.default_subscription,
        longest=timers.max_subscription,
        pause=timers.notify_pause,
        most=limits.max_subscriptions,
        each=limits.max_subscriptions_each,
        publications=limits.max_publications,
        max_body=limits.max_presence,
        at_once=limits.max_notified_at_once,
    )


def message_settings(config: Config) -> MessageSettings:
    timers, limits = config.timers, config.limits
    return MessageSettings(
        most=limits.max_messages,
        max_body=limits.max_message_body,
        lasts=timers.message_kept,
        again=timers.message_again,
    )


def registrar_settings(config: Config) -> RegistrarSettings:
    timers, limits = config.timers, config.limits
    return RegistrarSettings(
        timers.min_expires,
        timers.default_expires,
        timers.max_expires,
        limits.max_contacts,
        limits.max_registrations,
        service_route=config.switch.service_route,
    )


def guess_limits(config: Config) -> GuessLimits:
    timers, limits = config.timers, config.limits
    return GuessLimits(
        at_once=limits.guesses_at_once,
        sources=limits.max_guessers,
        waiting=limits.max_delayed,
        delay=timers.guess_delay,
        longest=timers.guess_longest,
        forget=timers.guess_forget,
    )


def kept_until_restart(before: Config, config: Config) -> Config:
    """Another configuration to go on by, but for what only a restart can change
    (`softswitch.reload`)."""
    switch = before.switch
    kept = {
        "name": switch.name,
        "listen": switch.listen,
        "call_id_header": switch.call_id_header,
        "journal": switch.journal,
        "control": switch.control,
    }
    return replace(
        config,
        switch=config.switch.model_copy(update=kept),
        voicemail=config.voicemail.model_copy(update={"folder": before.voicemail.folder}),
    )

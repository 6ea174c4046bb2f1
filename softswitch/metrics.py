"""What a switch holds and has done, for Prometheus (`prometheus_client`'s default registry)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from softswitch.applications import OUTCOMES, STATES
from softswitch.sip import Ring, Transport
from softswitch.switch import Switch
from softswitch.trace import Exporter


class SwitchMetrics:
    """A collector of one switch: its tables, its counters, its trunks."""

    def __init__(
        self,
        switch: Switch,
        transport: Transport,
        ring: Ring | None = None,
        exporter: Callable[[], Exporter | None] = lambda: None,
    ) -> None:
        self._switch = switch
        self._ring = ring
        self._exporter = exporter
        self._transport = transport

    def collect(self) -> Iterator[Metric]:
        """Read at each scrape; costs nothing between two."""
        switch = self._switch
        tables = GaugeMetricFamily(
            "softswitch_entries", "What is alive in the tables of the switch.", labels=["table"]
        )
        for table, entries in switch.tables().items():
            tables.add_metric([table], entries)
        tables.add_metric(["outbox"], len(self._transport.outbox))
        tables.add_metric(["phones_lost"], switch.qualifying.lost())
        tables.add_metric(["guessers"], len(switch.guesses))
        workers = switch.spoken.workers
        tables.add_metric(["media_workers"], 0 if workers is None else len(workers.workers))
        tables.add_metric(["media_ports"], 0 if workers is None else workers.busy)
        connections, displaced, turned_away = self._transport.connections
        tables.add_metric(["connections"], connections)
        if self._ring is not None:
            tables.add_metric(["trace"], len(self._ring.entries))
        yield tables
        counters = switch.counters
        for name, value, text in (
            ("calls", counters.calls, "INVITEs that became calls."),
            ("answered", counters.answered, "Calls that were answered."),
            (
                "refused_unrecorded",
                switch.refusals.unrecorded,
                "Refused calls without a record, beyond limits.refused_records.",
            ),
            (
                "challenged",
                switch.authentication.challenged,
                "Requests answered with a digest challenge.",
            ),
            (
                "toll_alarms",
                switch.toll_counts.alarms,
                "Times that a limit of what calls may cost was near or reached.",
            ),
            (
                "toll_refused",
                switch.toll_counts.refused,
                "Calls that such a limit has refused or ended.",
            ),
            (
                "media_workers_died",
                0 if workers is None else workers.failed,
                "Media workers that died while they were needed.",
            ),
            ("bans", switch.bans.made, "Addresses banned."),
            (
                "strangers_unanswered",
                switch.bans.silent,
                "Requests of addresses that send too many.",
            ),
            ("unread", self._transport.unread, "Datagrams and connections of banned addresses."),
            ("wrong_passwords", switch.guesses.wrong_passwords, "Requests with a wrong password."),
            (
                "wrong_passwords_unanswered",
                switch.guesses.unanswered,
                "Those of them without an answer, as another waited.",
            ),
            ("connections_displaced", displaced, "Strangers' connections closed to make room."),
            ("connections_refused", turned_away, "Connections for which there was no room."),
            ("registrations", switch.registering.accepted, "REGISTERs accepted."),
            ("malformed", self._transport.malformed, "Messages dropped unread."),
            ("unmatched", switch.transactions.unmatched, "Responses that nobody waited for."),
            ("overflows", switch.transactions.refused, "Requests refused by max_transactions."),
            ("hurried", self._transport.outbox.hurried, "Batches sent before the disk had them."),
        ):
            yield CounterMetricFamily(f"softswitch_{name}", text, value=value)
        exporter = self._exporter()
        if exporter is not None:
            for name, value, text in (
                ("hep_sent", exporter.sent, "Messages sent to the capture server."),
                ("hep_dropped", exporter.dropped, "Messages that it was not sent."),
            ):
                yield CounterMetricFamily(f"softswitch_{name}", text, value=value)
        refused = CounterMetricFamily(
            "softswitch_refused", "INVITEs refused before there was a call.", labels=["reason"]
        )
        for reason, count in switch.refusals.counts.items():
            refused.add_metric([reason], count)
        yield refused
        up = GaugeMetricFamily(
            "softswitch_trunk_up", "1 if the trunk answers (or is not asked).", labels=["trunk"]
        )
        busy = GaugeMetricFamily("softswitch_trunk_calls", "Calls on the trunk.", labels=["trunk"])
        registered = GaugeMetricFamily(
            "softswitch_trunk_registered",
            "1 if the switch is registered with the trunk that wants it.",
            labels=["trunk"],
        )
        for trunk in switch.config.trunks:
            enrolment = switch.enrolments.of(trunk)
            if enrolment is not None:
                registered.add_metric([trunk], enrolment.state == "registered")
            up.add_metric([trunk], switch.trunks.is_up(trunk))
            busy.add_metric([trunk], switch.trunks.calls(trunk))
        yield up
        yield registered
        yield busy
        yield from self._queues()

    def _queues(self) -> Iterator[Metric]:
        """Who waits, which agents are free, and what came of callers."""
        queues = self._switch.queues
        waiting = GaugeMetricFamily(
            "softswitch_queue_waiting", "Callers that wait.", labels=["queue"]
        )
        longest = GaugeMetricFamily(
            "softswitch_queue_longest_wait_seconds",
            "For how long the first of them has waited.",
            labels=["queue"],
        )
        agents = GaugeMetricFamily(
            "softswitch_queue_agents", "Agents of a queue, by state.", labels=["queue", "state"]
        )
        callers = CounterMetricFamily(
            "softswitch_queue_callers", "What came of callers.", labels=["queue", "outcome"]
        )
        for name, queue in self._switch.dialplan.queues.items():
            line = queues.lines[name]
            waiting.add_metric([name], len(line.callers))
            longest.add_metric([name], queues.waited(line))
            states = [queues.state(agent) for agent in queue.agents]
            for state in STATES:
                agents.add_metric([name, state], states.count(state))
            for outcome in OUTCOMES:
                callers.add_metric([name, outcome], line.outcomes.get(outcome, 0))
        yield from (waiting, longest, agents, callers)

"""The server's counters for Prometheus, read when asked; they cost nothing else."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from cdsplugin.api.access import Access
from cdsplugin.api.feed import Feed
from cdsplugin.api.served import Served


class ServerMetrics:
    """A collector of one server."""

    def __init__(self, server: Served, access: Access, feed: Feed) -> None:
        self._server = server
        self._access = access
        self._feed = feed

    def collect(self) -> Iterable[Metric]:
        """Read at each scrape."""
        server = self._server
        gauges = (
            ("cds_calls", "Live calls in the store", len(server.store)),
            ("cds_shared_calls", "Own calls with remote participants", len(server.proxy.monitor)),
            ("cds_servers_down", "Servers that are silent", len(server.proxy.health.down())),
            ("cds_archive_pending_rows", "Rows not committed yet", server.archive.pending()),
            (
                "cds_archive_trouble",
                "1 while the database fails",
                int(bool(server.archive.trouble)),
            ),
            ("cds_api_followers", "Event streams and WebSockets", len(self._feed)),
        )
        counters = (
            ("cds_updates", "Updates of call data", server.store.updates),
            ("cds_frames_received", "Frames from other servers", server.proxy.frames_in),
            ("cds_frames_sent", "Frames to other servers", server.proxy.frames_out),
            ("cds_peers_dropped", "Peers dropped for nonsense", server.link.dropped_peers),
            ("cds_records", "Records written", server.recorder.records),
            ("cds_archive_rows", "Rows committed", server.archive.rows),
            ("cds_archive_commits", "Commits", server.archive.commits),
            ("cds_archive_spooled_rows", "Rows moved to the spool file", server.archive.spooled),
            ("cds_archive_lost_rows", "Rows that only the log has", server.archive.lost),
            ("cds_api_refused", "Requests without a valid token", self._access.refused),
            ("cds_api_limited", "Requests over their token's rate", self._access.limited),
            ("cds_api_followers_dropped", "Followers that were too slow", self._feed.dropped),
        )
        for name, text, number in gauges:
            yield GaugeMetricFamily(name, text, value=number)
        for name, text, number in counters:
            yield CounterMetricFamily(name, text, value=number)
        up = GaugeMetricFamily("cds_server_connected", "1 if connected", labels=["server"])
        for peer, connected in server.proxy.servers().items():
            up.add_metric([peer], int(connected))
        yield up

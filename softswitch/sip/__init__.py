"""SIP (RFC 3261): messages, transport, transactions, dialogs, digest."""

from softswitch.sip.account import Account, Exchange
from softswitch.sip.client_transaction import ClientRequest, InviteClient, local_response
from softswitch.sip.dialog import Dialog, Unacknowledged
from softswitch.sip.digest import (
    Authenticated,
    Digest,
    MalformedCredentials,
    Secret,
    Unauthenticated,
    WrongPassword,
    claimed_user,
    hashes,
)
from softswitch.sip.flow import Flow, Network, Trace, TraceAt, TransportLimits
from softswitch.sip.header_values import (
    Address,
    Uri,
    escape_user,
    parse_address,
    parse_party,
    parse_uri,
    quote_display,
    split_list,
    uri_scheme,
)
from softswitch.sip.hosts import (
    Outside,
    host_port,
    is_numeric,
    local_address_for,
    network_of,
    unreachable_from,
)
from softswitch.sip.kept import Entry, Recorder, Ring
from softswitch.sip.locating import Dns, Located, Naptr, NoSuchName, Srv, locate
from softswitch.sip.message import REASON_PHRASES, MalformedMessage, Request, Response
from softswitch.sip.outbox import Outbox
from softswitch.sip.parser import forget, parse
from softswitch.sip.provisional import (
    RELIABLE,
    Provisional,
    Provisionals,
    has_option,
    rack_line,
    sequence_of,
)
from softswitch.sip.refer import (
    SIPFRAG,
    BadRefer,
    Refer,
    Replaces,
    fragment,
    read_refer,
    read_replaces,
    read_target_dialog,
)
from softswitch.sip.sdp import (
    Origin,
    first_codec,
    held,
    is_held,
    opened,
    same_media,
    sends_as,
)
from softswitch.sip.server_transaction import InviteServer, NonInviteServer
from softswitch.sip.session import Session, Surroundings
from softswitch.sip.session_timer import (
    Refresh,
    Terms,
    answer_lines,
    asked,
    granted,
    least_of,
    too_brief,
)
from softswitch.sip.tcp import TlsPeer
from softswitch.sip.texts import MAX_TEXT, decoded, printable, readable
from softswitch.sip.timers import LATE, LONG, Timer, Timers, TimerSettings
from softswitch.sip.tls import Certificate, TlsError, client_context, server_context
from softswitch.sip.tokens import Tokens
from softswitch.sip.transaction import Answer, ServerTransaction, Transactions, server_key
from softswitch.sip.transaction_states import CALLING, PROCEEDING
from softswitch.sip.transport import Transport

__all__ = [
    "CALLING",
    "LATE",
    "LONG",
    "MAX_TEXT",
    "PROCEEDING",
    "REASON_PHRASES",
    "RELIABLE",
    "SIPFRAG",
    "Account",
    "Address",
    "Answer",
    "Authenticated",
    "BadRefer",
    "Certificate",
    "ClientRequest",
    "Dialog",
    "Digest",
    "Dns",
    "Entry",
    "Exchange",
    "Flow",
    "InviteClient",
    "InviteServer",
    "Located",
    "MalformedCredentials",
    "MalformedMessage",
    "Naptr",
    "Network",
    "NoSuchName",
    "NonInviteServer",
    "Origin",
    "Outbox",
    "Outside",
    "Provisional",
    "Provisionals",
    "Recorder",
    "Refer",
    "Refresh",
    "Replaces",
    "Request",
    "Response",
    "Ring",
    "Secret",
    "ServerTransaction",
    "Session",
    "Srv",
    "Surroundings",
    "Terms",
    "Timer",
    "TimerSettings",
    "Timers",
    "TlsError",
    "TlsPeer",
    "Tokens",
    "Trace",
    "TraceAt",
    "Transactions",
    "Transport",
    "TransportLimits",
    "Unacknowledged",
    "Unauthenticated",
    "Uri",
    "WrongPassword",
    "answer_lines",
    "asked",
    "claimed_user",
    "client_context",
    "decoded",
    "escape_user",
    "first_codec",
    "forget",
    "fragment",
    "granted",
    "has_option",
    "hashes",
    "held",
    "host_port",
    "is_held",
    "is_numeric",
    "least_of",
    "local_address_for",
    "local_response",
    "locate",
    "network_of",
    "opened",
    "parse",
    "parse_address",
    "parse_party",
    "parse_uri",
    "printable",
    "quote_display",
    "rack_line",
    "read_refer",
    "read_replaces",
    "read_target_dialog",
    "readable",
    "same_media",
    "sends_as",
    "sequence_of",
    "server_context",
    "server_key",
    "split_list",
    "too_brief",
    "unreachable_from",
    "uri_scheme",
]

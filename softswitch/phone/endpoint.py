"""pjsua2 set up for a softphone: the endpoint with its codecs and its transport, the account."""

from __future__ import annotations

from typing import Any

import pjsua2 as pj

from softswitch.phone.ear import RATE
from softswitch.phone.settings import MOST_CALLS, PhoneError, PhoneSettings

TRANSPORTS = {
    "udp": pj.PJSIP_TRANSPORT_UDP,
    "tcp": pj.PJSIP_TRANSPORT_TCP,
    "tls": pj.PJSIP_TRANSPORT_TLS,
}


def start_endpoint(endpoint: Any, settings: PhoneSettings) -> str:
    """Initialize and start an endpoint that has been created; ``host:port`` where it listens.

    Raises PhoneError, and pj.Error for what pjsua2 says itself.
    """
    config = pj.EpConfig()
    config.uaConfig.threadCnt = 0
    config.uaConfig.maxCalls = MOST_CALLS
    config.uaConfig.userAgent = settings.user_agent
    config.logConfig.level = config.logConfig.consoleLevel = settings.log_level
    config.medConfig.clockRate = config.medConfig.sndClockRate = RATE
    config.medConfig.noVad = True  # a silent phone still sends, as desk phones do
    config.medConfig.ecTailLen = 0
    endpoint.libInit(config)
    endpoint.audDevManager().setNullDev()
    _choose_codecs(endpoint, settings)
    transport = _transport(settings)
    try:
        number = endpoint.transportCreate(TRANSPORTS[settings.transport], transport)
    except pj.Error as error:
        raise PhoneError(
            f"cannot listen on {settings.transport}:{settings.host}:{settings.port}: {error.reason}"
        ) from None
    address = str(endpoint.transportGetInfo(number).localName)
    endpoint.libStart()
    return address


def _choose_codecs(endpoint: Any, settings: PhoneSettings) -> None:
    known = {codec.codecId.rsplit("/", 1)[0]: codec.codecId for codec in endpoint.codecEnum2()}
    for codec_id in known.values():
        endpoint.codecSetPriority(codec_id, 0)
    for rank, name in enumerate(settings.codecs):
        if name not in known:
            raise PhoneError(f"codec {name} is not one of {', '.join(sorted(known))}")
        endpoint.codecSetPriority(known[name], 250 - rank)


def _transport(settings: PhoneSettings) -> Any:
    transport = pj.TransportConfig()
    transport.boundAddress, transport.port = settings.host, settings.port
    if settings.transport == "tls":
        if settings.ca is not None:
            transport.tlsConfig.CaListFile = str(settings.ca)
            transport.tlsConfig.verifyServer = True
        if settings.certificate is not None and settings.key is not None:
            transport.tlsConfig.certFile = str(settings.certificate)
            transport.tlsConfig.privKeyFile = str(settings.key)
    return transport


def own_uri(settings: PhoneSettings, address: str) -> str:
    """The phone's own address; ``address`` is where it listens, for one that has no domain."""
    return f"sip:{settings.user}@{settings.domain or settings.registrar or address}"


def account_config(settings: PhoneSettings, address: str) -> Any:
    """The account, without where it registers."""
    config = pj.AccountConfig()
    name = settings.name.replace("\\", "\\\\").replace('"', '\\"')
    me = own_uri(settings, address)
    config.idUri = f'"{name}" <{me}>' if name else me
    config.regConfig.registerOnAdd = False
    config.regConfig.timeoutSec = settings.expires
    config.regConfig.firstRetryIntervalSec = 1
    config.regConfig.retryIntervalSec = 5
    if settings.registrar is not None:
        credentials = pj.AuthCredInfo("digest", "*", settings.user, 0, settings.password)
        config.sipConfig.authCreds.append(credentials)
    if settings.prack:
        required = settings.prack == "require"
        config.callConfig.prackUse = (
            pj.PJSUA_100REL_MANDATORY if required else pj.PJSUA_100REL_OPTIONAL
        )
    config.mediaConfig.transportConfig.boundAddress = settings.host
    config.mediaConfig.transportConfig.port = 0  # any free one: many phones on one machine
    return config

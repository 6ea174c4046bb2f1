"""The network proxy: how servers share call data. No I/O."""

from cdsplugin.proxy.joined import Stage
from cdsplugin.proxy.network_proxy import NetworkProxy

__all__ = [
    "NetworkProxy",
    "Stage",
]

"""The HTTP API for applications: they take part in calls as switches and servers do.

``serving`` listens, ``app`` puts the routes together, ``access`` says who may, ``live``,
``records``, ``streams`` and ``phones`` are the routes, ``interest`` is the client of the local
store by which applications take part in calls, ``feed`` tells followers what happens.
"""

from cdsplugin.api.serving import Api, ApiError

__all__ = ["Api", "ApiError"]

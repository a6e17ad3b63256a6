"""The Admin API: change the configuration at run time, in APISIX's v3 shapes."""

from .api import AdminAPI

__all__ = ["AdminAPI"]

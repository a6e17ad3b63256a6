"""An API gateway that lives where Python services live.

``PingSIX`` wraps an ASGI app, or stands alone as a reverse proxy. Plugins are classes of ``Plugin``
with a ``PluginConf``; ``as_middleware`` uses one alone, ``from_middleware`` makes one of any ASGI
middleware.
"""

__version__ = "0.1.0"

from .adapters import as_middleware, from_middleware
from .app import PingSIX
from .context import Context
from .http.response import Response
from .plugin.base import Plugin, PluginConf

__all__ = [
    "Context",
    "PingSIX",
    "Plugin",
    "PluginConf",
    "Response",
    "__version__",
    "as_middleware",
    "from_middleware",
]

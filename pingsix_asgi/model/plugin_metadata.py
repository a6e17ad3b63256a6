"""Plugin metadata: options of a plugin that hold wherever it is used."""

from __future__ import annotations

from pydantic import ConfigDict

from .base import Model


class PluginMetadata(Model):
    """The document of one plugin; its id is the plugin's name.

    All other fields are the plugin's own, validated by its ``Metadata`` model.
    """

    model_config = ConfigDict(extra="allow")

    id: str | None = None
    create_time: int | None = None
    update_time: int | None = None

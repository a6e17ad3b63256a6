"""An API gateway that lives where Python services live."""

__version__ = "0.1.0"

"""Status, metrics and the Admin API."""

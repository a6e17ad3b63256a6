"""From a request to the one route that answers it."""

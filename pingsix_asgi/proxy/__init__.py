"""What answers a request: the wrapped app, or an upstream node over the network."""

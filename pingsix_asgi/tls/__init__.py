"""Certificates for TLS listeners, chosen by server name and changed while they are in use."""

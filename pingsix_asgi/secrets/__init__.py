"""Secrets: encrypted at rest, redacted on read, or kept elsewhere and referred to."""

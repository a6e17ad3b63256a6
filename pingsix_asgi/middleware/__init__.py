"""The plugins: one file each, and each an ASGI middleware on its own."""

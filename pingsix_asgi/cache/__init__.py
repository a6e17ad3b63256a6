"""Response caching: what may be stored, for how long, and where."""

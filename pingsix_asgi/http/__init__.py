"""Pure bytes, no I/O: headers, paths, queries, cookies, replies."""

"""Run the gateway as a process of its own: sockets, servers, workers, signals, drain."""

"""Nodes and which of them to use: balancing, health, discovery."""

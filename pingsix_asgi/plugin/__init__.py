"""The plugin contract and how plugins become a plan."""

"""What the logger plugins share: entries, and batches on their way to a collector."""

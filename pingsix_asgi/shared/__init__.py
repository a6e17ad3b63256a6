"""Numbers that the workers of one machine share: memory-mapped files, one writer each."""

"""Official checkouts and published packages: where they are, how they are read, and pinned facts. No code of theirs."""

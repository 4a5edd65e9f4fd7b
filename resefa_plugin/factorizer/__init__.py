"""The loop over samples and regions, and where other code hangs into it."""

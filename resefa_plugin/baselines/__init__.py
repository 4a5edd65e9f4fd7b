"""ReSeFa and its rivals, each written anew from its paper, asked the same question."""

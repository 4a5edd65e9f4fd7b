"""States of generators under the names that others give them, as the states of our networks."""

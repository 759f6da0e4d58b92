"""Chaos: a whole deployment under faults drawn from a seed, and a proof over what clients saw."""

"""The training itself: objective, step and loop (§3.2, §4.1)."""

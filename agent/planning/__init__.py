"""Which alloys to measure next, and when to stop."""

"""Search: a strategy decides what to try, an executor runs it."""

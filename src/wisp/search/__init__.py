"""Search: a strategy decides what to try, an executor runs it, `choose` picks the winner.

Nothing here trains: `evaluate(candidate, epochs) -> Measurement` comes in from the pipeline.
"""

"""Search: a strategy decides what to try, an executor runs it, `choose` picks the winner.

Nothing here trains: what an executor runs comes in from the pipeline.
"""

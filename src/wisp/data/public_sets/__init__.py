"""Public photo sets by name: each module fetches, checks and lays out one."""

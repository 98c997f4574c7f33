"""A trained network made smaller: fused, pruned, factored."""

"""The families: one file each, with its options, its plain `nn.Module` and its named members."""

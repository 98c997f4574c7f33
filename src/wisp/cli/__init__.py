"""The command line: one file a verb. A verb parses, calls and prints; the work is done elsewhere."""

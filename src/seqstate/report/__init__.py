"""Records in, table and HTML out; pure, no torch."""

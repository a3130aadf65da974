"""Statistics of plain arrays: intervals, paired tests, survival, ranks, variance components, aggregates."""

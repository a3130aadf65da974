"""Statistics of arrays: intervals, paired tests, survival, ranks. Nothing here knows what a trial is."""

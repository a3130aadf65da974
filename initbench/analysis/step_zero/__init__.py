"""From the statistics at step 0 to checks with remedies, and scans of depth and width."""

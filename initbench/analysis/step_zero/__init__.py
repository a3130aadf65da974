"""What step 0 shows: checks, remedies, scans of depth and gain."""

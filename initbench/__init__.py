"""Compare weight-initialization schemes: measured, fair, and saying how sure it is."""

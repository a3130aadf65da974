"""The HTML page, and what a notebook shows."""

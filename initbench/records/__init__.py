"""Plain data without torch: the recipe (what is asked), trials, records, and the files that hold them."""

"""From records to numbers: tables, statistics, verdicts and checks; loads without torch."""

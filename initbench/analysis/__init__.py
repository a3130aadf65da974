"""From records to tables, figures and a report; loads without torch."""

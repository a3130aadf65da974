"""From numbers to what people read: sentences, tables, figures, the page, exports."""

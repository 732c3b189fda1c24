"""Tables: what is scored and how, the papers' printed rows, and one table from its faces to its numbers."""

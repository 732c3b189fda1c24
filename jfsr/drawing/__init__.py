"""Pictures: figures, plots, the report, contact sheets, the papers' figures."""

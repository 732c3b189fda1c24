"""Linen modules only: no loss, no config object, no file."""

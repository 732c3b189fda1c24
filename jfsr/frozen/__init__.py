"""Frozen networks, one file each: the module with its preprocessing, its published files and the rules to port them."""

"""TFDS builders and readers, one data set a file."""

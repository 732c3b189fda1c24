"""The frozen networks: frozen networks, each with its preprocessing and its rules for published weights."""

"""The verbs of pyrund."""

"""Where images come from, beside a registry: archives and layouts on disk; downloads that are resumed."""

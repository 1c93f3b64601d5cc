"""A bundle on disk: its root file system, its config.json, and the ids that its files get."""

"""Namespaces: which ones are made and which are joined, and what is set up in them."""

"""The API: a module for each kind of resource; JSON in, JSON out."""

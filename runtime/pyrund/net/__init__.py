"""The network bridge: its addresses, its interfaces, its rules."""

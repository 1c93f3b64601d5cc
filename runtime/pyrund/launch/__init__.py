"""The launcher, a process that only forks, and what its children do: whatever may block or takes memory."""

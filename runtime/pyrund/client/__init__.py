"""The client: what the verbs need to ask a daemon, which may also be docker's."""

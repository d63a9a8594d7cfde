"""Models that need an environment of their own: a process per replica, behind a Unix socket."""

"""One file per provider of machines; `launchers.backend.open_backend` imports the one asked for."""

"""Files, threads, processes, terminals and fonts: what any room may use and none is about."""

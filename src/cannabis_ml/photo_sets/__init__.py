"""Many photos at once: where they come from, how they are stored, grouped, split and checked."""

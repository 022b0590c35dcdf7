"""A language model that suggests, reviews, checks and explains; it never classifies."""

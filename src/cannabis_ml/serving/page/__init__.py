"""The page that answers on the phone: its files, and those of the bundle that it reads."""

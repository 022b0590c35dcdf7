"""One module per change of the tables, each naming the one before."""

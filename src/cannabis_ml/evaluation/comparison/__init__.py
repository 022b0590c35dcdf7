"""Champion against challenger: paired comparisons of two models on the same photos."""

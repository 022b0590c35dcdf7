"""How good a model is: scores, intervals, comparisons. No PyTorch."""

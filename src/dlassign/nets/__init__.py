"""PyTorch models: flat parameters in, modules out."""

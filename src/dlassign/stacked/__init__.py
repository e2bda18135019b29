"""K equal PyTorch runs as one batched model."""

"""K PyTorch runs side by side, those of equal shape as one batched model."""

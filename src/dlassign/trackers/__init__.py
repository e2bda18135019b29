"""Exports of logs to tables, TensorBoard, MLflow and Weights & Biases; training knows nothing of them."""

"""Networks in NumPy with hand-written backward passes."""

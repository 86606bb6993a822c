"""Training: what one optimizer step does, the loop around it, budgets, and leaving on a signal."""

"""Operations that are worth more than a line of PyTorch: exact, memory-lean forward and backward passes."""

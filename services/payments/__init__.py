"""Money in, money back, and the books."""

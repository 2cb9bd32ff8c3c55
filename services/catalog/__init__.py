"""What is sold and for how much."""

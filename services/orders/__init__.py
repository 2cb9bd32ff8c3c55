"""What is bought, and what is brought back."""

"""What it takes to run the suite elsewhere, and to watch it."""

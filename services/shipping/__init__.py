"""How goods get to the customer."""

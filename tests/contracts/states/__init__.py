"""How each provider is brought into a state that a consumer speaks of: by its own methods, nothing stubbed."""

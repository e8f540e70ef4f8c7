"""What is tried before it is real: simulated people, recorded days, and what they show when the engine routes them."""

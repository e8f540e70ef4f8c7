"""What people and other programs reach by HTTP: the door, the live page and its words."""

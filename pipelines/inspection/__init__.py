"""What outputs hold, shown to people, and what of them is damaged."""

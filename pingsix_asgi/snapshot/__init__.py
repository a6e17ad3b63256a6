"""Resources compiled into one immutable view, and what outlives it."""

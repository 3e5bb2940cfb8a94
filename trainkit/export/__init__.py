"""Out to the world: the single file that front ends load, its metadata, and the model card; and back in."""

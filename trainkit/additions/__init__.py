"""Tags and captions that were made for the pictures of a prepared manifest, by models or by a person, and how
they come into it."""

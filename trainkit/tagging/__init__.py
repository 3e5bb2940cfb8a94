"""Taggers: networks that say which tags a picture has; how they are trained, judged and applied."""

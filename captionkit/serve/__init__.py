"""The local page of `captionkit serve`: move a rate, see the captions change."""

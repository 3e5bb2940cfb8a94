"""Reading the bytes of pictures: from files, from tars, from object storage."""

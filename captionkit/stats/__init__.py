"""What a recipe makes of data, in figures: counted over all records, and over drawn captions."""

"""From records to files: every format that can hold them, and what each cannot hold."""

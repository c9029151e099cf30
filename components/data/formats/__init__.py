"""Raw files of any format as records, a batch at a time."""

"""Results of a study as one parquet file: its schema, how it is read and how it is written."""

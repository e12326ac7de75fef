"""Files of clips to predict, one reader a format, and the files that predictions are written to."""

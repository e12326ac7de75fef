"""From a clip's features to an answer: a trained model's folder made ready, and asked about new clips."""

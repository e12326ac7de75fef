"""From a clip's features to an answer: a trained model's folder made ready, asked about clips that it has never seen."""

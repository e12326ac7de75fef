"""From a clip's own files to features: transcripts and sound, by extractors that plug-ins can add to."""

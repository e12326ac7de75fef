"""A trained model behind HTTP: a front that takes requests and batches them, and replicas on Ray that answer.

The front (`front`, `batcher`, `metrics`) knows bytes only: it bounds what comes in, hands bodies on in batches, and
asks again when a replica dies. A replica's `worker` reads bodies (`request`) and predicts; what it reads and answers is
in `schema`. `server` is the command's own HTTP server; `app` holds what runs on Ray Serve.
"""

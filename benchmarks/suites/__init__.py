"""The suites, each a module with `run(options)`, which measures and returns the document."""

SUITES = {
    "sampling": "images/s over batch sizes and precisions, latency of one image, cold start, memory; beside peers",
    "training": "images/s of runs from files to weights, and of a step; beside the trainers in --peer-dir",
    "export": "seconds and memory from a checkpoint to proved files, and their sizes",
    "serving": "requests/s and latency of 64 callers who ask for one image each",
    "latents": "random numbers/s, beside NumPy's generator",
    "encoding": "images/s into PNG, GIF, WebP and arrays",
    "startup": "seconds of the commands' help, and to 64 images from a cold start",
    "measures": "seconds and memory to say how good 10,000 images are, beside 60,000",
    "diagnosis": "what looking for signs of failure takes of training",
    "loader": "what fetching a batch takes beside the step that trains on it",
}

"""Scoring: faces.compare(predict, batches) gives faces, run(faces, …) of an evaluation one row per face and method."""

"""From files to batches: data sets, crops, degradation, heatmaps, the two pipelines."""

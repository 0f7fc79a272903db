"""Score the models, choose one for each series and forecast."""

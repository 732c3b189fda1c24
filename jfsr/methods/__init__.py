"""One file = one paper: FROZEN, init(), train_step(), predict()."""

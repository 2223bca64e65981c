"""`make gpu`: what one card does in a second and in an hour, in slices that can be stopped, resumed and repeated."""

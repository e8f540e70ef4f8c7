"""Speed, measured: `make bench`, or one of them by `make bench ONLY=core`. Figures are ratios first; machines
differ."""

//! Statistics of samples: mean, standard error, median and spread, paired differences.

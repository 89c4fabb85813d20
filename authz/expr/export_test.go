package expr

// Environment makes one that nothing was compiled with yet.
var Environment = environment

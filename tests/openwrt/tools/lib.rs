//! Nothing: this package exists for its dependency's files.

//! Constructs, grants, references and the resource graph; pure.

//! The operators, one file or folder each. A configuration struct is the operator's factory.

//! The result type of setting up and serving.

use std::error::Error;

/// A value, or any error. The program prints the error and exits.
pub type Outcome<T> = Result<T, Box<dyn Error>>;

//! What setting up and serving come to.

use std::error::Error;

/// A value, or any error: the program shows it and ends.
pub type Outcome<T> = Result<T, Box<dyn Error>>;

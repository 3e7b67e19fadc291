//! The options of the compiler, and its progress callback.

use ztfast_bundle::Form;

/// A callback for progress: the current step, how much of it is done, and how much there is.
pub type Progress<'a> = &'a mut (dyn FnMut(&str, u64, u64) + Send);

/// The options of a compilation.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whether the policies passed strict validation, which the bundle records.
    pub strict: bool,
    /// Whether a forbid whose evaluation errs denies, instead of being skipped as in Cedar.
    pub strict_errors: bool,
    /// The form of all tables; by default, for each layer the first form that fits.
    pub form: Option<Form>,
    /// Whether to split policies into layers wherever possible, however small the table is; for tests.
    pub split: bool,
    /// The [`ztfast_bundle::store_hash`] of the entities' sources.
    pub store: String,
    /// The action, or group of actions, that the kill switch exempts: type and id.
    pub exempt: Option<(String, String)>,
}

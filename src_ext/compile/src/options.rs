//! How to compile, and who is told how far it is.

use ztfast_bundle::Form;

/// Called as the work goes on: what is being done, how much of it is done, how much there is.
pub type Progress<'a> = &'a mut (dyn FnMut(&str, u64, u64) + Send);

/// How to compile.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whether the policies passed strict validation: the bundle says so.
    pub strict: bool,
    /// The form of all tables; none: the one that costs least, layer by layer.
    pub form: Option<Form>,
    /// Whether to group policies into layers wherever that can be done, be their table ever so small: for tests.
    pub split: bool,
    /// [`ztfast_bundle::store_hash`] of what the entities were read from.
    pub store: String,
    /// The group of actions that the kill switch leaves alone: type and id.
    pub exempt: Option<(String, String)>,
}

//! The sources of a bundle: policies, schema and entities as text.

use serde::{Deserialize, Serialize};
use std::path::Path;

/// A file's name and text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// The path as the user gave it. Messages show it, and ids may begin with its stem.
    pub name: String,
    /// The content.
    pub text: String,
}

impl SourceFile {
    /// Return the first character that is not white space, which tells JSON from Cedar's syntaxes.
    pub(crate) fn first_char(&self) -> Option<char> {
        self.text.trim_start_matches('\u{feff}').trim_start().chars().next()
    }

    pub(crate) fn is_named_json(&self) -> bool {
        Path::new(&self.name).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"))
    }
}

/// All sources of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sources {
    /// The policies, in Cedar's syntax, as JSON policy sets, or as lists of template links (the JSON of Cedar's command
    /// line).
    pub files: Vec<SourceFile>,
    /// The schema, in Cedar's syntax or JSON.
    pub schema: SourceFile,
    /// The entities, in Cedar's JSON.
    pub entities: Option<SourceFile>,
}

//! The kinds of bundles over the world.

use std::path::{Path, PathBuf};
use ztfast_bundle::Form;

/// The bundles of the world.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// The world's own bundle, with tables of this form.
    World(Option<Form>),
    /// A bundle that the world's gates do not fit.
    Foreign,
    /// A bundle whose decisions Cedar's own evaluator makes.
    Opaque,
}

impl Kind {
    pub const ALL: [Self; 6] = [
        Self::World(None),
        Self::World(Some(Form::Dense)),
        Self::World(Some(Form::Rows)),
        Self::World(Some(Form::Sets)),
        Self::Foreign,
        Self::Opaque,
    ];

    /// Return the path of its file in a folder.
    pub fn path(self, folder: &Path) -> PathBuf {
        folder.join(format!("{self:?}.ztb"))
    }
}

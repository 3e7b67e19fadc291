//! What an engine is asked for, what it takes, and why there is none.

use crate::sets::SimdLevel;
use ztfast_bundle::OpenError;
use ztfast_pages::{Forked, MemoryError, Residence};

/// How much room an engine has, and how it holds its memory.
#[derive(Debug, Clone, Copy)]
pub struct EngineOptions {
    /// Sessions that can be live at once.
    pub sessions: usize,
    /// Uids that can have a handle.
    pub handles: usize,
    /// Bytes that the context of a request may take, for whoever reads one.
    pub max_context: usize,
    /// How memory is held.
    pub residence: Residence,
    /// What joins sets of policies.
    pub simd: SimdLevel,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            sessions: 1 << 16,
            handles: 1 << 22,
            max_context: 1 << 22,
            residence: Residence::default(),
            simd: SimdLevel::default(),
        }
    }
}

/// Why there is no engine over a bundle.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The bundle's sections are not what their hashes say.
    #[error(transparent)]
    Bundle(#[from] OpenError),
    /// Memory could not be had as it was asked for.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The system gave no random numbers.
    #[error("the system gives no random numbers, without which handles could be guessed: {0}")]
    NoRandomness(#[from] getrandom::Error),
    /// The system does not let a process know itself from its children.
    #[error("the system refuses what tells this process from its forked children: {0}")]
    Process(std::io::Error),
    /// The engine is another process's.
    #[error(transparent)]
    Forked(#[from] Forked),
}

/// What an engine keeps in memory for decisions, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryUse {
    /// The bundle's file.
    pub bundle: usize,
    /// The tables of sessions and handles.
    pub tables: usize,
    /// The gates and their working memory.
    pub gates: usize,
    /// Entities that were changed since the bundle was made, with their texts.
    pub changes: usize,
    /// The uids that have a handle.
    pub uids: usize,
    /// Bundles that were replaced and that somebody still holds: gates that did not decide since.
    pub replaced: usize,
    /// Of all these, what is locked.
    pub locked: usize,
    /// Of bundle and tables, what the system holds in large pages now.
    pub huge: usize,
}

//! The options of an engine, its use of memory, and why one could not be created.

use crate::sets::SimdLevel;
use std::sync::atomic::AtomicI64;
use ztfast_bundle::OpenError;
use ztfast_live::StateError;
use ztfast_pages::{Clock, Forked, MemoryError, Residence};

/// The capacity of an engine, and how it holds its memory.
#[derive(Debug, Clone, Copy)]
pub struct EngineOptions {
    /// The sessions that can be live at once.
    pub sessions: usize,
    /// The uids that can have a handle.
    pub handles: usize,
    /// The bytes that the context of a request may take. Callers that read contexts enforce this.
    pub max_context: usize,
    /// Whether an authority gives the entities of its bundles their numbers in the register that processes share before
    /// anybody names them. These are never released.
    pub registers: bool,
    /// The most cells of a gate's own table. A gate that would need more has a table for each layer of its action, of
    /// at most eight times as many cells together, if it has at most two arguments; any other decides by the layers.
    pub gate_cells: usize,
    /// How the memory is held.
    pub residence: Residence,
    /// The clock that decisions read.
    pub clock: ClockKind,
    /// The instructions that intersect sets of policies.
    pub simd: SimdLevel,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            sessions: 1 << 16,
            handles: 1 << 22,
            max_context: 1 << 22,
            registers: true,
            gate_cells: 1 << 19,
            residence: Residence::default(),
            clock: ClockKind::default(),
            simd: SimdLevel::default(),
        }
    }
}

/// The clock that an engine's decisions read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClockKind {
    /// The kernel's coarse monotonic clock: it takes a few nanoseconds to read, and has a resolution of 1 to 4 ms.
    #[default]
    Coarse,
    /// The processor's time-stamp counter: finer, and about four times as long to read.
    Tsc,
    /// The time that the engine's user gives, which never goes back ([`crate::Shared::set_time`]). It begins at 1970.
    Caller,
}

impl ClockKind {
    /// Start the clock.
    ///
    /// # Errors
    /// [`EngineError::NoClock`].
    pub fn start(self) -> Result<Clock, EngineError> {
        match self {
            Self::Coarse => Ok(Clock::Coarse),
            Self::Caller => Ok(Clock::Caller(AtomicI64::new(0))),
            Self::Tsc if ztfast_pages::calibrate() => Ok(Clock::Tsc),
            Self::Tsc => Err(EngineError::NoClock),
        }
    }
}

/// Why an engine could not be set up over a bundle.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The bundle's sections do not match their hashes.
    #[error(transparent)]
    Bundle(#[from] OpenError),
    /// The system refused memory, or refused to hold it as the options ask.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The processor has no counter that is a clock.
    #[error("this machine has no time-stamp counter of a steady rate: open the engine with clock='coarse'")]
    NoClock,
    /// The state could not be opened.
    #[error(transparent)]
    State(StateError),
    /// The system gave no random numbers.
    #[error("the system gives no random numbers, without which handles could be guessed: {0}")]
    NoRandomness(#[from] getrandom::Error),
    /// The system offers no memory by which a process can tell itself from its forked children.
    #[error("the system refuses the memory by which this process is told from its forked children: {0}")]
    Process(std::io::Error),
    /// The engine belongs to another process.
    #[error(transparent)]
    Forked(#[from] Forked),
}

impl From<StateError> for EngineError {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Memory(error) => Self::Memory(error),
            StateError::NoRandomness(error) => Self::NoRandomness(error),
            error => Self::State(error),
        }
    }
}

/// The memory that an engine uses for decisions, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryUse {
    /// The bundle's file.
    pub bundle: usize,
    /// The tables of sessions and handles.
    pub tables: usize,
    /// The rest of the live state: what only writers of sessions read, and the register of uids.
    pub state: usize,
    /// The gates, their working memory and their tables. Gates of the same action and attributes share a table.
    pub gates: usize,
    /// Entities that were changed since the bundle was compiled, with their texts.
    pub changes: usize,
    /// The uids that have a handle.
    pub uids: usize,
    /// Replaced bundles that gates still hold, because they have not decided since; with the gates' tables.
    pub replaced: usize,
    /// The locked part of all these.
    pub locked: usize,
    /// The part of bundle and tables that the system holds in large pages now.
    pub huge: usize,
}

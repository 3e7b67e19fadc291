//! The parts of a state, where they lie, what a process may do with it, and why it is refused.

use crate::names::NameSlot;
use crate::notes::Notes;
use crate::proof::MAX_FACTORS;
use crate::register::sizes;
use crate::slot::{SessionDetails, SessionSlot};
use crate::switches::{SWITCHES_LAYOUT, Switches};
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
use ztfast_pages::{FileError, MemoryError, Shareable};

/// How many sessions and uids a state holds. It is chosen when the state is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// The sessions that can be live at once.
    pub sessions: usize,
    /// The uids that can have a number in all processes; 0 in private memory, where numbers are an engine's own.
    pub uids: usize,
}

/// Why a state could not be opened or made.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A file or the directory cannot be opened or made, or is refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// The state goes by another clock: its bounds would mean other times.
    #[error("{}: {why}", path.display())]
    Clock {
        /// The file.
        path: PathBuf,
        /// Which clock it goes by, and what to do.
        why: &'static str,
    },
    /// The system refused memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The system gave no random numbers.
    #[error("the system gives no random numbers, without which handles and sessions could be guessed: {0}")]
    NoRandomness(#[from] getrandom::Error),
}

/// The header takes the first page.
pub(super) const PAGE: usize = 4096;

/// What the file is. It is written before any process can see the file.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Header {
    pub magic: [u8; 8],
    pub version: u32,
    pub slot_layout: u32,
    /// The sizes and places of all parts, hashed: another build may lay them out otherwise.
    pub layout: u64,
    pub size: u64,
    /// The boot in which the state was made: its times are of that boot's clock.
    pub boot: [u8; 16],
    pub id: [u8; 16],
    pub inode: u64,
    /// The inode of the file of owners: those who lock another one do not exclude these.
    pub owners: u64,
    pub sessions: u64,
    pub uids: u64,
    /// The key that converts places to handles, the same in all processes.
    pub key: u64,
    /// The time that proofs call 0.
    pub base_ns: i64,
    /// Whose clock bounds sessions and kills: [`SYSTEMS`] or [`CALLERS`].
    pub clock: u64,
    /// BLAKE3 of all fields before this one.
    pub hash: [u8; 32],
}

pub(super) const SYSTEMS: u64 = 0;
pub(super) const CALLERS: u64 = 1;

/// The part that processes change besides sessions.
#[repr(C, align(4096))]
pub(crate) struct Control {
    /// [`Reading::offset`], and how long the machine had slept, when the bounds were last computed.
    pub offset: AtomicI64,
    pub slept: AtomicI64,
    /// How many slots were ever given out.
    pub fresh: AtomicU64,
    /// How often a session was revoked, or all bounds were computed again: slots may be free since.
    pub ended: AtomicU64,
    pub(super) factor_count: AtomicU32,
    pub(super) name_count: AtomicU32,
    /// The number of the process that changes switches or names now, as it sees itself; 0 for none.
    pub(super) writer_process: AtomicU64,
    /// The latest time that an authority gave, where the clock is the callers'.
    pub(super) callers_ns: AtomicI64,
    unused: AtomicU64,
    pub(super) factors: [NameSlot; MAX_FACTORS],
    pub(super) names: [NameSlot; OTHER_NAMES],
}

const CONTROL: usize = 4 * PAGE;
/// How many channels and regions have a name.
pub const OTHER_NAMES: usize = 255 - MAX_FACTORS;
const _: () = assert!(size_of::<Control>() == CONTROL && size_of::<NameSlot>() == 64);

// SAFETY: atomics without padding, as the size shows.
unsafe impl Shareable for Control {}
// SAFETY: atomics without padding.
unsafe impl Shareable for SessionSlot {}
// SAFETY: atomics without padding.
unsafe impl Shareable for SessionDetails {}
// SAFETY: atomics without padding, as its file shows.
unsafe impl Shareable for Switches {}
// SAFETY: atomics without padding, as its file shows.
unsafe impl Shareable for Notes {}

/// Where the parts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub slots: usize,
    pub details: usize,
    pub switches: usize,
    pub notes: usize,
    pub uids: usize,
    pub size: usize,
}

impl Layout {
    pub fn new(capacity: Capacity) -> Option<Self> {
        let page = |at: usize| at.checked_next_multiple_of(PAGE);
        let slots = PAGE + CONTROL;
        let details = page(slots.checked_add(capacity.sessions.checked_mul(size_of::<SessionSlot>())?)?)?;
        let switches = page(details.checked_add(capacity.sessions.checked_mul(size_of::<SessionDetails>())?)?)?;
        let notes = page(switches.checked_add(size_of::<Switches>())?)?;
        let uids = page(notes.checked_add(size_of::<Notes>())?)?;
        let size = page(uids.checked_add(sizes(capacity.uids)?.total)?)?;
        Some(Self { slots, details, switches, notes, uids, size })
    }

    pub fn hash(&self) -> u64 {
        let parts = [self.slots, self.details, self.switches, self.notes, self.uids, self.size];
        let words = [&parts[..], &[size_of::<Header>(), size_of::<Control>(), SWITCHES_LAYOUT as usize]].concat();
        let bytes: Vec<u8> = words.iter().flat_map(|word| (*word as u64).to_le_bytes()).collect();
        first_word(&blake3::hash(&bytes))
    }
}

pub(super) fn first_word(hash: &blake3::Hash) -> u64 {
    hash.as_bytes().iter().take(8).fold(0, |word, &byte| word << 8 | u64::from(byte))
}

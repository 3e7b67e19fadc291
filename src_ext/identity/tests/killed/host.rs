//! A directory with a table and a list, and rows and lines of which all parts follow from numbers, so that a row with
//! parts of two is recognised.

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use ztfast_identity::{Change, Revocation, Revoked, Row, RowGround, Table};
use ztfast_pages::{Mapping, Residence, Role};

/// A directory of this test's own, which is removed with it.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("ztfast-credentials-{}-{number}", std::process::id())))
    }

    /// Open a table of one set, or of two.
    pub fn table(&self, sets: usize) -> Table {
        Table::open(&self.0, Role::Authority, Some(8 * sets), Residence::default()).unwrap()
    }

    pub fn list(&self) -> Revoked {
        Revoked::open(&self.0.join("revoked"), Role::Authority).unwrap()
    }

    /// Return the path of a file.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Return the words of a file, as they are in memory.
    pub fn map(&self, name: &str) -> Words {
        let file = File::open(self.path(name)).unwrap();
        let len = usize::try_from(file.metadata().unwrap().len()).unwrap();
        Words(Mapping::of_file(&file, len, false).unwrap(), len / 8)
    }

    /// Make a file of zeros that processes write.
    pub fn board(&self, words: usize) -> Words {
        let path = self.path("board");
        let file = File::options().create(true).truncate(true).read(true).write(true).open(path).unwrap();
        file.set_len(8 * words as u64).unwrap();
        Words(Mapping::of_file(&file, 8 * words, true).unwrap(), words)
    }

    /// Return how many files there are.
    pub fn count(&self) -> usize {
        std::fs::read_dir(&self.0).map_or(0, Iterator::count)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Words in memory that processes share.
pub struct Words(Mapping, usize);

impl Words {
    pub fn all(&self) -> &[AtomicU64] {
        self.0.slice(0, self.1).unwrap()
    }
}

pub fn key(number: u64) -> [u8; 32] {
    *blake3::hash(&number.to_le_bytes()).as_bytes()
}

/// Return the ground that only the row of a number and a turn has.
pub fn own_ground(number: u64, turn: u64) -> u64 {
    (number << 32 | turn).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1
}

pub fn row(number: u64, turn: u64) -> Row {
    let own = own_ground(number, turn);
    let part = |at: u64| own.rotate_left(u32::try_from(at % 64).unwrap()) ^ at;
    let kind = |at: u64| u8::try_from(part(at) % 251).unwrap();
    let grounds: Vec<RowGround> = (0..own >> 20 & 7).map(|at| RowGround { kind: kind(at), number: part(at) }).collect();
    let grounds = [vec![RowGround { kind: 1, number: own }], grounds].concat();
    let text: Vec<u8> = (0..64 + (own >> 8 & 127)).map(kind).collect();
    let verified_ns = i64::try_from(number << 32 | turn).unwrap();
    Row::new(key(number), 1, (0, i64::MAX), verified_ns, &grounds, &text).unwrap()
}

/// Return whether a row is one of those above, wholly.
pub fn is_whole(found: &Row) -> bool {
    let both = found.verified_ns.cast_unsigned();
    let mut wanted = row(both >> 32, both & 0xFFFF_FFFF);
    wanted.fallen = found.fallen;
    *found == wanted
}

/// Return the digest of a ground that is revoked.
pub fn digest(number: u64) -> [u8; 32] {
    let mut digest = key(number);
    digest.iter_mut().zip(number.wrapping_add(1 << 40).to_be_bytes()).for_each(|(to, byte)| *to = byte);
    digest
}

pub fn line(number: u64) -> Revocation {
    let text = |text: &str| text.to_owned();
    let (kind, shown, by) = (text("key"), format!("key {number}"), text("ann"));
    let (reason, at) = ("x".repeat(usize::try_from(number % 512).unwrap()), text("2026-01-02T03:04:05Z"));
    Revocation { kind, digest: digest(number), shown, by, reason, at, what: Change::Revoked }
}
